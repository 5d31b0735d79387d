"""The journal of a batch, as it is written. It knows items and outcomes, and no workers.

`Journal` is the only writer: `procorch.api.storage.ownership` keeps all others out.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from procorch.api.storage import disk, files
from procorch.api.storage.ownership import Ownership
from procorch.batch import salvage, schema
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


class RemovedItems(Struct, frozen=True):
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
        gone = "while the batch ran, and its outcomes with it: run it again"
        self._owner = Ownership(path, schema.KIND, gone=gone)
        new = not path.exists()
        try:
            files.create(path, schema.KIND)
            self.mended: str | None = salvage.mend(path) if mend else None
            super().__init__(path, exact=True)
            self._owner.hold()
        except BaseException:
            if new:  # nothing is in it
                for each in with_companions(path):
                    each.unlink(missing_ok=True)
            self._owner.release()
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
        before = self.header()
        with schema.explained(self.path):
            run = self._connection.execute
            run("BEGIN IMMEDIATE")
            epoch = self._owner.take(self._connection)
            run("INSERT OR REPLACE INTO meta VALUES ('header', ?)", (_text(header),))
            if afresh:
                run("DELETE FROM items")
                run("DELETE FROM attempts")
            if afresh or any(before.get(word) != header.get(word) for word in _INPUT):
                run("DELETE FROM gone")  # unknown until the input was read
            run("INSERT INTO events VALUES (?, ?, ?, ?)", (time.time(), epoch, kind, ""))
            run("COMMIT")
        return epoch

    def write(self, facts: list[Fact]) -> None:
        """Commit facts, all of them or none; a tuple is an event, its kind and its text.

        Raises:
            JournalFenced: another process has taken the journal over.
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
                events.append((time.time(), self._owner.epoch, *fact))
                continue
            fact.epoch = self._owner.epoch
            sealed = (*msgspec.structs.astuple(fact), seal(fact))
            (rows if isinstance(fact, ItemRecord) else attempts).append(sealed)
        run = self._connection.execute
        with self._owner.transaction(self._connection):
            for query, values in ((_INSERT_ROW, rows), (_INSERT_ATTEMPT, attempts)):
                if values:
                    self._connection.executemany(query, values)
            if gone is not None:
                run("DELETE FROM gone")
                ids = ((id,) for id in gone.ids)
                self._connection.executemany("INSERT INTO gone VALUES (?)", ids)
            for event in events:
                run("INSERT INTO events VALUES (?, ?, ?, ?)", event)

    def must_be_there(self) -> None:
        """Make sure that the file still has a name; else its content is lost when it is closed.

        Raises:
            JournalError: it was removed, or another file was put in its place.
        """
        self._owner.must_be_there()

    def make_room(self) -> None:
        """Move the write-ahead log into the file, as far as that is possible on a full disk."""
        disk.make_room(self._connection)

    def close(self) -> None:
        """Close the journal and release its lock."""
        try:
            super().close()
        finally:
            self._owner.release()


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
