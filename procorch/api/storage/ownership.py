"""The right of this process to write one file, guarded in two ways.

The lock keeps a second writer out; the kernel frees it when its holder ends. The epoch stops a
writer that has lost its lock without noticing (the lock file was deleted, or the file system is a
network's): each opening for writing takes the next number, and every transaction first checks that
the number is still its own.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from procorch.api.storage.kind import FileKind
from procorch.api.storage.lock import Lock

_EPOCH = "SELECT value FROM meta WHERE key = 'epoch'"


class Ownership:
    """The lock of a file, its epoch, and a look at whether the file is still there.

    Args:
        gone: what becomes of the content of a file that was removed, the end of its error.

    Attributes:
        epoch: the number of this opening; 0 before `take`.

    Raises:
        Exception: like `Lock`.
    """

    def __init__(self, path: Path, kind: FileKind, *, gone: str) -> None:
        self._path, self._kind, self._gone = path, kind, gone
        self._lock = Lock(path, kind)
        self._file = -1
        self.epoch: int = 0

    def hold(self) -> None:
        """Note which file it is, once it exists."""
        # Closing an ordinary descriptor would drop the locks that SQLite holds on the file.
        self._file = os.open(self._path, os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY))

    def take(self, connection: sqlite3.Connection) -> int:
        """Take the next epoch, in the transaction of the caller."""
        found = connection.execute(_EPOCH).fetchall()
        self.epoch = int(found[0][0]) + 1 if found else 1
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (self.epoch,))
        return self.epoch

    @contextlib.contextmanager
    def transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Commit what the block writes, all of it or nothing.

        Raises:
            Exception: ``kind.fenced``: another process has taken the file over; ``kind.error``: the
                file was removed.
            sqlite3.Error: as it comes; a full disk is ``SQLITE_FULL``, and writing may be tried
                again.
        """
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._must_be_ours(connection)
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def must_be_there(self) -> None:
        """Make sure that the file still has a name; else its content is lost when it is closed.

        Raises:
            Exception: ``kind.error``: it was removed, or another file was put in its place.
        """
        if os.fstat(self._file).st_nlink == 0:
            raise self._kind.error(f"{self._path} was removed {self._gone}")

    def _must_be_ours(self, connection: sqlite3.Connection) -> None:
        self.must_be_there()
        found = connection.execute(_EPOCH).fetchall()
        now = int(found[0][0]) if found else 0
        if now != self.epoch:
            raise self._kind.fenced(
                f"{self._path} was taken over by another process (epoch {now}, ours is "
                f"{self.epoch}); nothing more is written to it here"
            )

    def release(self) -> None:
        """Release the lock, after the last connection was closed."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._lock.release()
