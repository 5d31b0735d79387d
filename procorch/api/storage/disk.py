"""Disks that accept nothing: whether they may accept it later, and what is wrong with them."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
from pathlib import Path

_WRITING = {
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,  # the index of the write-ahead log
    sqlite3.SQLITE_IOERR_SHMMAP,
}


def may_pass(error: sqlite3.Error) -> bool:
    """Whether the disk may accept the data later.

    SQLite has an error of its own for a full disk. A quota, a limit on the size of files and a file
    server that does not answer are errors of writing.
    """
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code in _WRITING


def trouble(path: Path, error: sqlite3.Error) -> str:
    """What is wrong with the disk, as the system says it; SQLite says only "I/O error"."""
    if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
        return f"no room on the disk for {path}"
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        with beside.open("xb", buffering=0) as file:
            file.write(bytes(4096))
            os.fsync(file.fileno())
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        why = str(error)
        if most != resource.RLIM_INFINITY:
            why = f"files may have {most} bytes (ulimit -f)"
    except OSError as refusal:
        why = os.strerror(refusal.errno or 0)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    return f"{path} cannot be written at the moment: {why}"


def make_room(connection: sqlite3.Connection) -> None:
    """Move the write-ahead log into the file, as far as that is possible on a full disk."""
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
