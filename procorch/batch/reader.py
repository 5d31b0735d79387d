"""The journal of a batch, as it is read: outcomes, attempts, events, and counts.

There are three kinds of facts, each in a table: the final outcome of an item (one row for each
item), the attempts that failed, and the events of the batch. A row has a seal, a hash of all its
columns. So a row that is not what was written is noticed whenever it is read.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
from msgspec import Struct

from procorch.api.storage import files
from procorch.api.storage.lock import holder
from procorch.batch import salvage, schema
from procorch.batch.errors import JournalDamaged
from procorch.batch.records import AttemptRecord, ItemRecord

_ROW = ItemRecord.__struct_fields__
_ATTEMPT = AttemptRecord.__struct_fields__
_SELECT_ROW = f"SELECT {', '.join(_ROW)}, seal FROM items"
_SELECT_ATTEMPT = f"SELECT {', '.join(_ATTEMPT)}, seal FROM attempts"

_PRESENT = "id NOT IN (SELECT id FROM gone)"
"""Condition for items that were in the input when it was last read completely."""

_Fact = TypeVar("_Fact", ItemRecord, AttemptRecord)


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures with the same reason and place: how many, and the id of one of them."""

    reason: str
    place: str
    count: int
    example: str


class JournalCounts(Struct, frozen=True):
    """The counts of a journal, which the summary, `show` and `runs` all give.

    Args:
        ok: items of the input that have succeeded.
        failed: items of the input that have failed.
        groups: the failures by reason and place.
        gone: outcomes of items that are no longer in the input.
    """

    ok: int
    failed: int
    gone: int
    groups: tuple[FailureGroup, ...]


class Reader:
    """Reads a journal, also while a runner writes it.

    Of a damaged file everything readable is read, and the rest counts as missing.

    Args:
        exact: raise `JournalDamaged` instead.

    Attributes:
        lost: names of items whose outcome could not be read, as far as was noticed.

    Raises:
        JournalError: there is no such file, or it is not a journal.
    """

    def __init__(self, path: Path, *, exact: bool = False) -> None:
        self.path = path
        self.lost: set[str] = set()
        self._exact = exact
        self._salvaged = False
        self._unreadable = 0
        try:
            self._connection = self._connect()
        except JournalDamaged:
            if exact:
                raise
            self._connection = self._salvage()

    def _connect(self) -> sqlite3.Connection:
        return schema.connect_to_read(self.path)

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        # All rows at once: an unfinished statement would prevent checkpoints.
        try:
            with schema.explained(self.path):
                return self._connection.execute(query, values).fetchall()
        except JournalDamaged:
            if self._exact or self._salvaged:
                raise
        self._replace()
        return self._all(query, *values)

    def _salvage(self) -> sqlite3.Connection:
        """A copy of everything that can be read of a damaged file."""
        self._salvaged = True
        connection, lost = salvage.readable(self.path)
        self.lost |= set(lost)
        self._unreadable = len(lost)
        return connection

    def _replace(self) -> None:
        damaged, self._connection = self._connection, self._salvage()
        damaged.close()

    @property
    def incomplete(self) -> bool:
        """Whether the file is damaged, and outcomes may be missing without being in `lost`."""
        total = self.header().get("total")
        return self._salvaged and (total is None or self.stored() < total)

    def header(self) -> dict[str, Any]:
        """The description of the batch by its runner; empty before the first one."""
        found = self._all("SELECT value FROM meta WHERE key = 'header'")
        return msgspec.json.decode(found[0][0]) if found else {}

    def epoch(self) -> int:
        """How often a runner has opened the journal."""
        found = self._all("SELECT value FROM meta WHERE key = 'epoch'")
        return int(found[0][0]) if found else 0

    def counts(self) -> tuple[int, int]:
        """How many items of the input have succeeded, and how many have failed."""
        found = dict(self._all(f"SELECT ok, count(*) FROM items WHERE {_PRESENT} GROUP BY ok"))
        return found.get(1, 0), found.get(0, 0)

    def outcomes(self) -> int:
        """How many outcomes there are, including those that cannot be read."""
        return sum(self.counts()) + self._unreadable

    def stored(self) -> int:
        """How many outcomes are stored, including items that are no longer in the input."""
        return int(self._all("SELECT count(*) FROM items")[0][0])

    def gone(self) -> int:
        """How many outcomes are of items that are no longer in the input."""
        return int(self._all("SELECT count(*) FROM gone")[0][0])

    def is_gone(self, id: str) -> bool:
        """Whether an item is no longer in the input."""
        return bool(self._all("SELECT 1 FROM gone WHERE id = ?", id))

    def standing(self) -> JournalCounts:
        """The counts of the batch."""
        return JournalCounts(*self.counts(), self.gone(), tuple(self.groups()))

    def rowids(self, ids: Collection[str]) -> list[int]:
        """The row numbers of those items that have an outcome."""
        marks = ", ".join("?" * len(ids))
        found = self._all(f"SELECT rowid FROM items WHERE id IN ({marks})", *ids)
        return [number for (number,) in found]

    def absent(self, is_seen: Callable[[int], bool], epoch: int) -> list[str]:
        """Names of the items with an outcome of an earlier runner that were not seen.

        Args:
            is_seen: says of a row number whether it was seen.
            epoch: of this runner.
        """
        query = "SELECT rowid, id FROM items WHERE epoch != ?"
        return [id for number, id in self._all(query, epoch) if not is_seen(number)]

    def groups(self) -> list[FailureGroup]:
        """The failures by reason and place, the most frequent first."""
        return [
            FailureGroup(*row)
            for row in self._all(
                "SELECT reason, place, count(*), min(id) FROM items "
                f"WHERE NOT ok AND {_PRESENT} "
                "GROUP BY reason, place ORDER BY count(*) DESC, reason, place"
            )
        ]

    def events(self) -> list[tuple[float, int, str, str]]:
        """The events of the batch: Unix seconds, epoch, kind, text."""
        return [tuple(row) for row in self._all("SELECT at, epoch, kind, text FROM events")]

    def state(self) -> str:
        """One of "finished", "interrupted", "halted", "broken", "killed", or who runs the batch."""
        writer = holder(self.path)
        if writer is not None:
            return f"running: {writer}"
        last = self._all("SELECT kind FROM events ORDER BY rowid DESC LIMIT 1")
        word = last[0][0] if last else "killed"
        return "killed" if word in ("started", "resumed", "started over") else word

    def find(self, id: str) -> ItemRecord | None:
        """The final outcome of an item; None where it has none yet.

        Raises:
            JournalDamaged: the row is not what was written.
        """
        found = self._all(f"{_SELECT_ROW} WHERE id = ?", id)
        if not found and id in self.lost:
            raise self.damage(id)
        return self._row(found[0]) if found else None

    def find_all(self, ids: list[str]) -> dict[str, ItemRecord | None]:
        """The final outcomes of those items that have one; None: the outcome is damaged."""
        found: dict[str, ItemRecord | None] = {}
        for columns in self._all(f"{_SELECT_ROW} WHERE id IN ({', '.join('?' * len(ids))})", *ids):
            try:
                found[columns[0]] = self._row(columns)
            except JournalDamaged:
                found[columns[0]] = None
        return found

    def damage(self, id: str) -> JournalDamaged:
        """The error for a row that is not what was written."""
        return JournalDamaged(
            f"{self.path}: what is kept of item {id!r} is not what was written; "
            "`--retry-failed` runs damaged items again, `procorch show RUN --check` lists them"
        )

    def attempts(self, id: str) -> list[AttemptRecord]:
        """The failed attempts of an item, in order.

        Raises:
            JournalDamaged: one of them is not what was written.
        """
        rows = self._all(f"{_SELECT_ATTEMPT} WHERE id = ? ORDER BY number", id)
        return [self._opened(AttemptRecord, _ATTEMPT, row) for row in rows]

    def attempted(self) -> bool:
        """Whether there is any failed attempt."""
        return bool(self._all("SELECT 1 FROM attempts LIMIT 1"))

    def rows(self, *, failed_only: bool = False, gone: bool = False) -> Iterator[ItemRecord]:
        """All final outcomes in the order of the input, lazily; damaged ones are added to `lost`.

        Args:
            failed_only: only failures.
            gone: also outcomes of items that are no longer in the input.

        Raises:
            JournalDamaged: an outcome is not what was written, and the reader is ``exact``.
        """
        where = f" WHERE {'NOT ok' if failed_only else '1'} AND {'1' if gone else _PRESENT}"
        # Sorting reads all rows first, so a damaged file is noticed before the first is given.
        for columns in self._each(f"{_SELECT_ROW}{where} ORDER BY position, id"):
            try:
                row = self._row(columns)
            except JournalDamaged:
                if self._exact:
                    raise
                self.lost.add(str(columns[0]))
            else:
                yield row

    def _each(self, query: str) -> Iterator[tuple[Any, ...]]:
        begun = False
        try:
            with schema.explained(self.path):
                cursor = self._connection.execute(query)
                try:
                    for columns in cursor:
                        begun = True
                        yield columns
                finally:
                    with contextlib.suppress(sqlite3.ProgrammingError):  # it was closed before
                        cursor.close()
            return
        except JournalDamaged:
            if begun or self._exact or self._salvaged:
                raise
        self._replace()
        yield from self._each(query)

    def damaged(self) -> list[str]:
        """Names of the items whose rows are not what was written, or cannot be read."""
        found = []
        for (id,) in self._all("SELECT id FROM items ORDER BY position, id"):
            try:
                self.find(id)
            except JournalDamaged:
                found.append(id)
        return found + sorted(self.lost.difference(found))

    def _row(self, columns: tuple[Any, ...]) -> ItemRecord:
        return self._opened(ItemRecord, _ROW, columns)

    def _opened(self, kind: type[_Fact], names: tuple[str, ...], columns: tuple[Any, ...]) -> _Fact:
        *values, known_seal = columns
        known = dict(zip(names, values, strict=True))
        if kind is ItemRecord:
            known["ok"] = known["ok"] == 1
        fact = kind(**known)
        if known_seal != seal(fact):
            raise self.damage(known["id"])
        return fact

    def close(self) -> None:
        """Close the journal."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *of_error: object) -> None:
        self.close()


def seal(fact: ItemRecord | AttemptRecord) -> bytes:
    """A hash of all columns of a row."""
    # Empty columns are left out, so a column that a later version adds does not change old seals.
    known = [each for each in msgspec.structs.asdict(fact).items() if each[1] is not None]
    return files.seal(known)
