"""Where a batch keeps outcomes: in a journal, or nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from procorch.batch.errors import JournalDamaged
from procorch.batch.journal import Fact, Journal, RemovedItems
from procorch.batch.reader import JournalCounts, Reader
from procorch.batch.records import AttemptRecord, ItemRecord
from procorch.batch.writer import Committed, Writer, WriterEvent


class Store(Protocol):
    """Keeps outcomes.

    Attributes:
        epoch: how often the journal was opened by a runner; records of this run have this number.
        final: the counts once the store is closed; None: only the runner has counted.
    """

    epoch: int
    final: JournalCounts | None

    def find(self, ids: list[str]) -> dict[str, ItemRecord | None]:
        """The outcomes of those items that have one; None: the outcome is damaged."""
        ...

    def damage(self, id: str) -> JournalDamaged:
        """The error for a damaged outcome."""
        ...

    def attempts(self, id: str) -> list[AttemptRecord]:
        """The failed attempts at an item in earlier runs."""
        ...

    def put(self, fact: Fact, token: Any = None) -> None:
        """Write a fact; a `Committed` event returns ``token`` when the fact is committed."""
        ...

    def note_removed_items(self, outcomes: int) -> None:
        """Note which outcomes are of items that are no longer in the input.

        Called when the whole input was looked up with `find`.

        Args:
            outcomes: how many items of the input have an outcome.
        """
        ...

    def confirm(self) -> None:
        """Make sure that what was committed can be found again.

        Raises:
            JournalError: it cannot.
        """
        ...

    def close(self, *, at_once: bool = False) -> None:
        """Write what is not yet written.

        Args:
            at_once: do not wait if the disk is full.
        """
        ...


class JournalStore:
    """Keeps outcomes in a journal.

    Args:
        journal: a journal that this process has taken over.
        put_event: called on the thread of the writer; must not block.
    """

    def __init__(
        self, journal: Journal, epoch: int, put_event: Callable[[WriterEvent], None]
    ) -> None:
        self.epoch = epoch
        # A connection of its own: reading does not wait for a transaction that is being written.
        self._reader = Reader(journal.path, exact=True)
        self._has_attempts = self._reader.attempted()
        self._writer = Writer(journal, put_event)
        self.final: JournalCounts | None = None
        # A resumed batch may have outcomes of items that its input no longer has.
        self._resumed = self._reader.stored() > 0
        self._seen = _NumberSet()

    def find(self, ids: list[str]) -> dict[str, ItemRecord | None]:
        """See `Store`."""
        found = self._reader.find_all(ids)
        if self._resumed and found:
            self._seen.add(self._reader.rowids(found))
        return found

    def damage(self, id: str) -> JournalDamaged:
        """See `Store`."""
        return self._reader.damage(id)

    def attempts(self, id: str) -> list[AttemptRecord]:
        """See `Store`."""
        return self._reader.attempts(id) if self._has_attempts else []

    def put(self, fact: Fact, token: Any = None) -> None:
        """See `Store`."""
        self._writer.put(fact, token)

    def note_removed_items(self, outcomes: int) -> None:
        """See `Store`."""
        if self._resumed:
            same = self._reader.stored() == outcomes
            removed = [] if same else self._reader.absent(self._seen.has, self.epoch)
            self._writer.put(RemovedItems(removed))

    def confirm(self) -> None:
        """See `Store`."""
        self._writer.confirm()

    def close(self, *, at_once: bool = False) -> None:
        """See `Store`."""
        self._reader.close()
        self.final = self._writer.close(at_once=at_once, count=self._resumed)


class NullStore:
    """Keeps nothing: each outcome counts as committed at once."""

    epoch = 1
    final: JournalCounts | None = None

    def __init__(self, put_event: Callable[[WriterEvent], None]) -> None:
        self._put_event = put_event

    def find(self, ids: list[str]) -> dict[str, ItemRecord | None]:
        """See `Store`."""
        return {}

    def damage(self, id: str) -> JournalDamaged:
        """See `Store`."""
        return JournalDamaged(id)

    def attempts(self, id: str) -> list[AttemptRecord]:
        """See `Store`."""
        return []

    def put(self, fact: Fact, token: Any = None) -> None:
        """See `Store`."""
        if token is not None:
            self._put_event(Committed([token]))

    def note_removed_items(self, outcomes: int) -> None:
        """See `Store`."""

    def confirm(self) -> None:
        """See `Store`."""

    def close(self, *, at_once: bool = False) -> None:
        """See `Store`."""


class _NumberSet:
    """A set of row numbers, one bit each."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, numbers: list[int]) -> None:
        for number in numbers:
            place = number >> 3
            if place >= len(self._bits):
                self._bits.extend(bytes(place + 1 - len(self._bits) + (len(self._bits) >> 3)))
            self._bits[place] |= 1 << (number & 7)

    def has(self, number: int) -> bool:
        place = number >> 3
        return place < len(self._bits) and bool(self._bits[place] & 1 << (number & 7))


def remove(path: Path) -> None:
    """Remove a journal in which nothing was ever begun."""
    for name in (path.name, path.name + "-wal", path.name + "-shm"):
        path.with_name(name).unlink(missing_ok=True)
