"""The tables of a journal, and how its file is opened; see `procorch.api.storage.files`."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from procorch.api.storage import files
from procorch.api.storage.kind import FileKind
from procorch.batch.errors import (
    JournalBusy,
    JournalDamaged,
    JournalError,
    JournalFenced,
    JournalMismatch,
)

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

KIND: FileKind = FileKind(
    noun="a run of procorch",
    absent="run",
    lock="the lock of a batch",
    other="journal",
    application_id=0x70726F63,  # "proc"
    migrations=MIGRATIONS,
    error=JournalError,
    busy=JournalBusy,
    fenced=JournalFenced,
    mismatch=JournalMismatch,
    damaged=JournalDamaged,
    mending="`procorch export` gives what can be read of it, retry_failed=True (--retry-failed) "
    "runs again what is lost",
)


def connect(path: Path) -> sqlite3.Connection:
    """A connection that reads and writes; the tables are brought up to date.

    Raises:
        JournalError: the file is not a journal, is damaged, or has a newer version.
    """
    return files.connect(path, KIND)


def make(connection: sqlite3.Connection) -> None:
    """Make the tables of a new database."""
    files.make(connection, MIGRATIONS, KIND.application_id)


def connect_to_read(path: Path, *, cut: bool = False) -> sqlite3.Connection:
    """A connection that only reads; a runner may be writing meanwhile.

    Args:
        cut: also read a file that is shorter than its header says.

    Raises:
        JournalError: there is no such file, or it is not a journal of this version.
    """
    connection = files.connect_to_read(path, KIND, cut=cut)
    try:
        with explained(path):
            version = files.version_of(path, KIND, connection)
            if version < len(MIGRATIONS):  # it gets what is missing when it is opened for writing
                connection.execute("PRAGMA temp_store = MEMORY")
            if version < 3:
                view = "CREATE TEMP VIEW items AS SELECT *, NULL AS used FROM main.items"
                connection.execute(view)
            if version < 2:
                connection.execute("CREATE TEMP TABLE gone (id TEXT PRIMARY KEY) WITHOUT ROWID")
    except BaseException:
        connection.close()
        raise
    return connection


def explained(path: Path) -> contextlib.AbstractContextManager[None]:
    """Raise errors of SQLite as errors of procorch.

    Raises:
        JournalDamaged: the file is damaged.
        JournalError: any other error of SQLite.
    """
    return files.explained(path, KIND)
