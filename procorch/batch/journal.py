"""The journal of a batch, as it is written. It knows items and outcomes, and no workers.

`Journal` is the only writer, guarded in two ways. The lock keeps a second runner out; the kernel
frees it when its holder ends. The epoch stops a runner that has lost its lock without noticing (the
lock file was deleted, or the file system is a network's): each opening for writing takes the next
number, and every transaction first checks that the number is still its own.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from procorch.batch import salvage, schema
from procorch.batch.errors import JournalError, JournalFenced
from procorch.batch.lock import Lock
from procorch.batch.output_file import with_companions
from procorch.batch.reader import Reader, seal
from procorch.batch.records import AttemptRecord, ItemRecord


def _insertion(table: str, kind: type[ItemRecord | AttemptRecord]) -> str:
    names = (*kind.__struct_fields__, "seal")
    marks = ", ".join("?" * len(names))
    return f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({marks})"


_INSERT_ROW = _insertion("items", ItemRecord)
_INSERT_ATTEMPT = _insertion("attempts", AttemptRecord)
_INPUT = ("fingerprint", "limit")
"""Entries of the header that decide which items the input has."""


@dataclass(frozen=True, slots=True)
class RemovedItems:
    """All items that have an outcome and are no longer in the input."""

    ids: list[str]


Fact: TypeAlias = ItemRecord | AttemptRecord | RemovedItems | tuple[str, str]


class Journal(Reader):
    """The only writer of a journal; it makes the file if there is none.

    Args:
        mend: repair a damaged file; items that are lost have no outcome any more.

    Attributes:
        mended: what was done to repair the file; None: it was not damaged.

    Raises:
        JournalBusy: another process is writing it.
        JournalError: it cannot be made, or is not a journal.
    """

    def __init__(self, path: Path, *, mend: bool = False) -> None:
        self._lock = Lock(path)
        self._epoch = 0
        new = not path.exists()
        try:
            schema.create(path)
            self.mended: str | None = salvage.mend(path) if mend else None
            super().__init__(path, exact=True)
            # Closing an ordinary descriptor would drop the locks that SQLite holds on the file.
            self._file = os.open(path, os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY))
        except BaseException:
            if new:  # nothing is in it
                for each in with_companions(path):
                    each.unlink(missing_ok=True)
            self._lock.release()
            raise

    def _connect(self) -> sqlite3.Connection:
        return schema.connect(self.path)

    def begin(self, header: dict[str, Any], kind: str, *, afresh: bool) -> int:
        """Take the journal over; before this call it is not changed.

        Args:
            header: description of the batch.
            kind: "started" or "resumed".
            afresh: remove all outcomes and attempts.

        Returns:
            The epoch.
        """
        self._epoch = self.epoch() + 1
        before = self.header()
        with schema.explained(self.path):
            run = self._connection.execute
            run("BEGIN IMMEDIATE")
            run("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (self._epoch,))
            run("INSERT OR REPLACE INTO meta VALUES ('header', ?)", (_text(header),))
            if afresh:
                run("DELETE FROM items")
                run("DELETE FROM attempts")
            if afresh or any(before.get(word) != header.get(word) for word in _INPUT):
                run("DELETE FROM gone")  # unknown until the input was read
            run("INSERT INTO events VALUES (?, ?, ?, ?)", (time.time(), self._epoch, kind, ""))
            run("COMMIT")
        return self._epoch

    def write(self, facts: list[Fact]) -> None:
        """Commit facts, all of them or none; a tuple is an event, its kind and its text.

        Raises:
            JournalFenced: another runner has taken the journal over.
            sqlite3.Error: as it comes; a full disk is ``SQLITE_FULL``, and writing may be tried
                again.
        """
        rows: list[tuple[Any, ...]] = []
        attempts: list[tuple[Any, ...]] = []
        events: list[tuple[Any, ...]] = []
        gone: RemovedItems | None = None
        for fact in facts:
            if isinstance(fact, RemovedItems):
                gone = fact
                continue
            if isinstance(fact, tuple):
                events.append((time.time(), self._epoch, *fact))
                continue
            fact.epoch = self._epoch
            sealed = (*msgspec.structs.astuple(fact), seal(fact))
            (rows if isinstance(fact, ItemRecord) else attempts).append(sealed)
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            self._must_be_ours()
            for query, values in ((_INSERT_ROW, rows), (_INSERT_ATTEMPT, attempts)):
                if values:
                    self._connection.executemany(query, values)
            if gone is not None:
                run("DELETE FROM gone")
                ids = ((id,) for id in gone.ids)
                self._connection.executemany("INSERT INTO gone VALUES (?)", ids)
            for event in events:
                run("INSERT INTO events VALUES (?, ?, ?, ?)", event)
            run("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                run("ROLLBACK")
            raise

    def must_be_there(self) -> None:
        """Make sure that the file still has a name; else its content is lost when it is closed.

        Raises:
            JournalError: it was removed, or another file was put in its place.
        """
        if os.fstat(self._file).st_nlink == 0:
            raise JournalError(
                f"{self.path} was removed while the batch ran, and its outcomes with it: run it "
                "again"
            )

    def _must_be_ours(self) -> None:
        self.must_be_there()
        now = self.epoch()
        if now != self._epoch:
            raise JournalFenced(
                f"{self.path} was taken over by another runner (epoch {now}, ours is "
                f"{self._epoch}); nothing more is written to it here"
            )

    def make_room(self) -> None:
        """Move the write-ahead log into the file, as far as that is possible on a full disk."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the journal and release its lock."""
        try:
            super().close()
        finally:
            os.close(self._file)
            self._lock.release()


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
