"""How a file is made and opened, and what SQLite's errors mean.

The journal mode is WAL, so that others can read while one process writes. ``synchronous=FULL``:
what is committed also survives a loss of power; group commits make that cheap. The version is
SQLite's ``user_version``, and each step of ``kind.migrations`` leads to the next version.
``application_id`` marks the kind.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec

from procorch.api.storage.kind import FileKind

# Damaged text is not an error of the query; the seal of its row does not match.
_text = functools.partial(str, encoding="utf-8", errors="replace")
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def create(path: Path, kind: FileKind) -> None:
    """Make the file if there is none; only its owner can read it.

    Raises:
        Exception: ``kind.error``: the file cannot be made, or is not a regular file.
    """
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(path, flags, 0o600)
    except FileNotFoundError:
        raise kind.error(f"{path} cannot be written: there is no folder {path.parent}") from None
    except OSError as error:
        why = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise kind.error(f"{path} cannot be written: {why}") from None
    regular = stat.S_ISREG(os.fstat(fd).st_mode)
    os.close(fd)
    if not regular:
        raise kind.error(f"{path} cannot be written: it is not a file")


def connect(path: Path, kind: FileKind) -> sqlite3.Connection:
    """A connection that reads and writes; the tables are brought up to date.

    Raises:
        Exception: ``kind.mismatch``: the file is of another kind, or has a newer version;
            ``kind.damaged``: it is damaged; ``kind.error``: it cannot be opened.
    """
    with explained(path, kind):
        connection = sqlite3.connect(
            path, isolation_level=None, timeout=30, check_same_thread=False
        )
    connection.text_factory = _text
    with _named(path, kind, connection):
        new = connection.execute("PRAGMA page_count").fetchall()[0][0] == 0
        version = 0 if new else version_of(path, kind, connection)
        connection.execute("PRAGMA synchronous = FULL")
        open_for_readers(connection, kind.migrations, kind.application_id, version)
    return connection


def open_for_readers(
    connection: sqlite3.Connection, migrations: Sequence[str], application_id: int, version: int,
    *, first: str = "",
) -> None:  # fmt: skip
    """Bring the tables up to date, and let others read while this connection writes.

    Args:
        version: of the file; 0: it is new.
        first: statements before the tables of a new file.
    """
    # In this order, and with `first` in the transaction: the change of the mode and some pragmas
    # write a page, and a process that ends after it would leave a database that is not empty and
    # not marked as ours.
    if version < len(migrations):
        make(connection, migrations, application_id, version, first=first)
    connection.execute("PRAGMA journal_mode = WAL")


def make(
    connection: sqlite3.Connection, migrations: Sequence[str], application_id: int,
    version: int = 0, *, first: str = "",
) -> None:  # fmt: skip
    """Bring the tables of a database from this version to the present one."""
    connection.executescript(
        "BEGIN;"
        + ("" if version else first)
        + "".join(migrations[version:])
        + f"PRAGMA application_id = {application_id}; PRAGMA user_version = {len(migrations)};"
        "COMMIT;"
    )


def connect_to_read(path: Path, kind: FileKind, *, cut: bool = False) -> sqlite3.Connection:
    """A connection that only reads; another process may be writing meanwhile.

    Args:
        cut: also read a file that is shorter than its header says.

    Raises:
        Exception: ``kind.error``: there is no such file; otherwise like `connect`.
    """
    if not path.is_file():
        raise kind.error(f"there is no {kind.absent} {path}")
    # Without a write-ahead log no process writes, and the file can be read in any folder.
    beside = path.with_name(path.name + "-wal")
    how = "mode=ro" if beside.exists() else "mode=ro&immutable=1"
    name = str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    try:
        connection = sqlite3.connect(
            f"file:{name}?{how}", uri=True, isolation_level=None, timeout=30
        )
    except sqlite3.Error as error:
        raise kind.error(f"{path} cannot be read: {error}") from None
    connection.text_factory = _text
    with _named(path, kind, connection):
        if cut:  # without this, SQLite refuses the first page of such a file
            connection.execute("PRAGMA writable_schema = ON")
        version_of(path, kind, connection)
    return connection


def version_of(path: Path, kind: FileKind, connection: sqlite3.Connection) -> int:
    """The version of a file of this kind.

    Raises:
        Exception: ``kind.mismatch``: it is of another kind, or has a newer version.
    """
    ours: int = connection.execute("PRAGMA application_id").fetchall()[0][0]
    version: int = connection.execute("PRAGMA user_version").fetchall()[0][0]
    if ours != kind.application_id:
        raise kind.mismatch(f"{path} is a database, but not {kind.noun}")
    if version > len(kind.migrations):
        raise kind.mismatch(
            f"{path} was written by a newer procorch (version {version} of the file, this one "
            f"knows {len(kind.migrations)}): update procorch"
        )
    return version


@contextlib.contextmanager
def _named(path: Path, kind: FileKind, connection: sqlite3.Connection) -> Iterator[None]:
    """Close the connection if opening it fails, and explain errors of SQLite."""
    try:
        with explained(path, kind):
            yield
    except BaseException:
        connection.close()
        raise


@contextlib.contextmanager
def explained(path: Path, kind: FileKind) -> Iterator[None]:
    """Raise errors of SQLite as errors of this kind of file."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            raise kind.mismatch(f"{path} is not {kind.noun}: {error}") from error
        if code in _DAMAGED:
            raise kind.damaged(f"{path} is damaged: {error}; {kind.mending}") from error
        raise kind.error(f"{path}: {error}") from error


def seal(columns: Sequence[object]) -> bytes:
    """A hash of the columns of a row, which is kept in it and tells of damage."""
    return blake2b(msgspec.msgpack.encode(columns), digest_size=8).digest()
