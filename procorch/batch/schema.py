"""The tables of a journal, and how a file is opened.

The journal mode is WAL, so that others can read while the runner writes. ``synchronous=FULL``: what
is committed also survives a loss of power; group commits make that cheap. The version is SQLite's
``user_version``, and each step of `MIGRATIONS` leads to the next version. ``application_id`` marks
the files of procorch.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from procorch.batch.errors import JournalDamaged, JournalError, JournalMismatch

_OURS = 0x70726F63  # "proc"

MIGRATIONS = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE items (
        id TEXT PRIMARY KEY, position INTEGER NOT NULL, digest BLOB NOT NULL, ok INTEGER NOT NULL,
        reason TEXT, place TEXT, error TEXT, output, attempts INTEGER NOT NULL,
        wall REAL, cpu REAL, peak_rss INTEGER, pid INTEGER, finished REAL NOT NULL,
        epoch INTEGER NOT NULL, input TEXT, log TEXT NOT NULL, seal BLOB NOT NULL
    );
    CREATE TABLE attempts (
        id TEXT NOT NULL, number INTEGER NOT NULL, reason TEXT NOT NULL, place TEXT NOT NULL,
        error TEXT NOT NULL, wall REAL, cpu REAL, peak_rss INTEGER, pid INTEGER,
        finished REAL NOT NULL, epoch INTEGER NOT NULL, log TEXT NOT NULL, seal BLOB NOT NULL,
        PRIMARY KEY (id, number)
    ) WITHOUT ROWID;
    CREATE TABLE events (at REAL NOT NULL, epoch INTEGER NOT NULL, kind TEXT NOT NULL,
                         text TEXT NOT NULL);
    """,
    """
    CREATE TABLE gone (id TEXT PRIMARY KEY) WITHOUT ROWID;
    """,
    """
    ALTER TABLE items ADD COLUMN used TEXT;
    """,
)
"""Each changes a file from one version to the next."""

# Damaged text is not an error of the query; the seal of its row does not match.
_text = functools.partial(str, encoding="utf-8", errors="replace")
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def create(path: Path) -> None:
    """Make the file if there is none; only its owner can read it.

    Raises:
        JournalError: the file cannot be made, or is not a regular file.
    """
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(path, flags, 0o600)
    except FileNotFoundError:
        raise JournalError(f"{path} cannot be written: there is no folder {path.parent}") from None
    except OSError as error:
        why = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise JournalError(f"{path} cannot be written: {why}") from None
    regular = stat.S_ISREG(os.fstat(fd).st_mode)
    os.close(fd)
    if not regular:
        raise JournalError(f"{path} cannot be written: it is not a file")


def connect(path: Path) -> sqlite3.Connection:
    """A connection that reads and writes; the tables are brought up to date.

    Raises:
        JournalError: the file is not a journal, is damaged, or has a newer version.
    """
    with explained(path):
        connection = sqlite3.connect(
            path, isolation_level=None, timeout=30, check_same_thread=False
        )
    connection.text_factory = _text
    with _named(path, connection):
        new = connection.execute("PRAGMA page_count").fetchall()[0][0] == 0
        version = 0 if new else _version(path, connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if version < len(MIGRATIONS):
            make(connection, version)
    return connection


def make(connection: sqlite3.Connection, version: int = 0) -> None:
    """Bring the tables of a database from this version to the present one."""
    connection.executescript(
        "BEGIN IMMEDIATE;"
        + "".join(MIGRATIONS[version:])
        + f"PRAGMA application_id = {_OURS}; PRAGMA user_version = {len(MIGRATIONS)};"
        "COMMIT;"
    )


def connect_to_read(path: Path, *, cut: bool = False) -> sqlite3.Connection:
    """A connection that only reads; a runner may be writing meanwhile.

    Args:
        cut: also read a file that is shorter than its header says.

    Raises:
        JournalError: there is no such file, or it is not a journal of this version.
    """
    if not path.is_file():
        raise JournalError(f"there is no run {path}")
    # Without a write-ahead log no process writes, and the file can be read in any folder.
    beside = path.with_name(path.name + "-wal")
    how = "mode=ro" if beside.exists() else "mode=ro&immutable=1"
    name = str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    try:
        connection = sqlite3.connect(
            f"file:{name}?{how}", uri=True, isolation_level=None, timeout=30
        )
    except sqlite3.Error as error:
        raise JournalError(f"{path} cannot be read: {error}") from None
    connection.text_factory = _text
    with _named(path, connection):
        if cut:  # without this, SQLite refuses the first page of such a file
            connection.execute("PRAGMA writable_schema = ON")
        version = _version(path, connection)
        if version < len(MIGRATIONS):  # it gets what is missing when it is opened for writing
            connection.execute("PRAGMA temp_store = MEMORY")
        if version < 3:
            connection.execute("CREATE TEMP VIEW items AS SELECT *, NULL AS used FROM main.items")
        if version < 2:
            connection.execute("CREATE TEMP TABLE gone (id TEXT PRIMARY KEY) WITHOUT ROWID")
    return connection


def _version(path: Path, connection: sqlite3.Connection) -> int:
    ours: int = connection.execute("PRAGMA application_id").fetchall()[0][0]
    version: int = connection.execute("PRAGMA user_version").fetchall()[0][0]
    if ours != _OURS:
        raise JournalMismatch(f"{path} is a database, but not a run of procorch")
    if version > len(MIGRATIONS):
        raise JournalMismatch(
            f"{path} was written by a newer procorch (version {version} of the file, this one "
            f"knows {len(MIGRATIONS)}): update procorch"
        )
    return version


@contextlib.contextmanager
def _named(path: Path, connection: sqlite3.Connection) -> Iterator[None]:
    """Close the connection if opening it fails, and explain errors of SQLite."""
    try:
        with explained(path):
            yield
    except BaseException:
        connection.close()
        raise


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise errors of SQLite as errors of procorch.

    Raises:
        JournalDamaged: the file is damaged.
        JournalError: any other error of SQLite.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            raise JournalMismatch(f"{path} is not a run of procorch: {error}") from error
        if code in _DAMAGED:
            raise JournalDamaged(
                f"{path} is damaged: {error}; `procorch export` gives what can be read of it, "
                "retry_failed=True (--retry-failed) runs again what is lost"
            ) from error
        raise JournalError(f"{path}: {error}") from error
