"""The file of the history: its tables, how it is opened, and what becomes of a damaged one.

The journal mode is WAL with ``synchronous=NORMAL``: what is committed survives the end of the
daemon, and a loss of power costs the last moments at most. The version is SQLite's
``user_version``, and each step of `MIGRATIONS` leads to the next one. A history that cannot be read
must not keep the agents from running, so it is moved aside and another one begun.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from procorch.api.storage.files import open_for_readers
from procorch.daemon.errors import DaemonError

_log = logging.getLogger("procorch")

_OURS = 0x70726F68  # "proh"
_BESIDE = ("", "-wal", "-shm", "-journal")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

MIGRATIONS = (
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, agent TEXT NOT NULL,
        instance INTEGER NOT NULL, generation INTEGER NOT NULL, type TEXT NOT NULL,
        data TEXT NOT NULL
    );
    CREATE INDEX events_of_agent ON events (agent, id);
    CREATE TABLE exits (
        id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, agent TEXT NOT NULL,
        instance INTEGER NOT NULL, generation INTEGER NOT NULL, pid INTEGER, reason TEXT NOT NULL,
        signal TEXT, exitcode INTEGER, place TEXT, stderr_tail TEXT NOT NULL,
        last_stack TEXT NOT NULL, uptime REAL
    );
    CREATE INDEX exits_of_agent ON exits (agent, id);
    CREATE TABLE drift (agent TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID;
    """,
)
"""Each changes a file from one version to the next."""


class HistoryError(DaemonError):
    """The history cannot be opened; the text says why, and what to do."""


class HistoryUnwritable(HistoryError):
    """The same, and it may be possible later."""


class _Damaged(Exception):
    pass


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is damaged."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def open_to_write(path: Path) -> sqlite3.Connection:
    """A connection to the file, made with mode 0600 where there is none.

    A damaged file is moved aside, with a warning, and a new one made. What operators have changed
    by hand (`drift_of`) is taken over as far as it can be read.

    Raises:
        HistoryUnwritable: the disk takes nothing now.
        HistoryError: the file cannot be used, or a newer procorch has written it.
    """
    _make(path)
    try:
        try:
            return _connect(path)
        except _Damaged as error:
            drift = _salvaged_drift(path)
            move_aside(path, str(error))
            _make(path)
            connection = _connect(path)
            write_drift(connection, drift)
            return connection
    except sqlite3.Error as error:
        raise HistoryUnwritable(f"the history {path} cannot be opened: {error}") from error


def move_aside(path: Path, why: str) -> None:
    """Move a damaged file out of the way, with a warning.

    Raises:
        HistoryUnwritable: the disk takes nothing now.
    """
    at = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    names = (f"{path.name}.damaged-{at}-{number}" for number in count(1))
    aside = next(it for name in names if not (it := path.with_name(name)).exists())
    try:
        for suffix in _BESIDE:
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    except OSError as error:
        raise HistoryUnwritable(f"the damaged history {path} cannot be moved: {error}") from error
    _log.warning(
        "the history %s is damaged (%s): it is kept as %s, and a new one begins",
        path, why, aside.name,
    )  # fmt: skip


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection that only reads, while the daemon writes."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=5
    )
    connection.execute("PRAGMA query_only = ON")
    connection.text_factory = _text
    return connection


def drift_of(connection: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """What operators have changed by hand, by agent."""
    found = {}
    for agent, data in connection.execute("SELECT agent, data FROM drift"):
        with contextlib.suppress(ValueError):
            value = json.loads(data)
            if isinstance(value, dict):
                found[agent] = value
    return found


def write_drift(connection: sqlite3.Connection, drift: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace all of it; in a transaction of the caller, or in none."""
    connection.execute("DELETE FROM drift")
    rows = [(agent, json.dumps(value)) for agent, value in drift.items()]
    connection.executemany("INSERT INTO drift VALUES (?, ?)", rows)


def size_of(path: Path) -> int:
    """Bytes of the file and of those beside it."""
    size = 0
    for suffix in _BESIDE:
        with contextlib.suppress(FileNotFoundError):
            size += os.stat(f"{path}{suffix}").st_size
    return size


def _make(path: Path) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        why = "it is a symbolic link" if path.is_symlink() else error.strerror
        kind = HistoryUnwritable if error.errno in _FULL else HistoryError
        raise kind(f"the history {path} cannot be written: {why}") from None
    try:
        known = os.fstat(fd)
        if not stat.S_ISREG(known.st_mode):
            raise HistoryError(f"the history {path} cannot be written: it is not a file")
        if stat.S_IMODE(known.st_mode) != 0o600:
            os.fchmod(fd, 0o600)  # SQLite gives the files beside it the same mode
    except OSError as error:
        raise HistoryError(f"the history {path} cannot be used: {error.strerror}") from None
    finally:
        os.close(fd)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=5, check_same_thread=False)
    connection.text_factory = _text
    try:
        version = _version(path, connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 1048576")
        vacuum = "PRAGMA auto_vacuum = INCREMENTAL;"
        open_for_readers(connection, MIGRATIONS, _OURS, version, first=vacuum)
        drift_of(connection)
    except sqlite3.Error as error:
        connection.close()
        if is_damage(error) or "no such" in str(error):
            raise _Damaged(str(error)) from error
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def _version(path: Path, connection: sqlite3.Connection) -> int:
    """The version of the file, whose pages are checked; 0: it is new."""
    run = connection.execute
    if run("PRAGMA page_count").fetchone()[0] == 0:
        return 0
    version: int = run("PRAGMA user_version").fetchone()[0]
    if run("PRAGMA application_id").fetchone()[0] != _OURS:
        raise _Damaged("it is no history of procorch")
    if version > len(MIGRATIONS):
        raise HistoryError(
            f"the history {path} was written by a newer procorch (version {version} of the file, "
            f"this one knows {len(MIGRATIONS)}): update procorch, or move the file away"
        )
    verdict = run("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise _Damaged(str(verdict).splitlines()[-1])
    return version


def _salvaged_drift(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with contextlib.closing(open_to_read(path)) as connection:
            return drift_of(connection)
    except sqlite3.Error:
        return {}


def _text(data: bytes) -> str:
    # Damaged text is not an error of the query.
    return data.decode("utf-8", "replace")
