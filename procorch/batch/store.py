"""What the runner asks and tells of what was done before: a journal, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from procorch.batch.errors import JournalDamaged
from procorch.batch.items import Attempt, Row
from procorch.batch.journal import Fact, Gone, Journal
from procorch.batch.reader import Reader, Standing
from procorch.batch.writer import Kept, News, Writer


class Memory(Protocol):
    """Remembers outcomes.

    Attributes:
        epoch: which opening of the journal this is; rows of this one are of this run.
        final: once it is closed, what the batch has come to; None: what its runner has counted.
    """

    epoch: int
    final: Standing | None

    def find(self, ids: list[str]) -> dict[str, Row | None]:
        """The final outcomes of those items that have one; None: it is there, but damaged."""
        ...

    def damage(self, id: str) -> JournalDamaged:
        """What is to be said of a damaged outcome."""
        ...

    def attempts(self, id: str) -> list[Attempt]:
        """The failed attempts of an item in earlier runs."""
        ...

    def put(self, fact: Fact, token: Any = None) -> None:
        """Remember this; ``token`` comes back in `Kept` when it is safe."""
        ...

    def settle(self, outcomes: int) -> None:
        """The whole input has been looked up with `find`; so many of its items have outcomes."""
        ...

    def confirm(self) -> None:
        """See that what was committed can be found again.

        Raises:
            JournalError: it cannot.
        """
        ...

    def close(self, *, at_once: bool = False) -> None:
        """Write what waits; ``at_once``: but do not wait for a full disk."""
        ...


class Durable:
    """A journal that was taken over.

    Args:
        tell: called on the writer's thread; must not block.
    """

    def __init__(self, journal: Journal, epoch: int, tell: Callable[[News], None]) -> None:
        self.epoch = epoch
        # A connection of its own: reading does not wait for a transaction that is being written.
        self._reader = Reader(journal.path, exact=True)
        self._has_attempts = self._reader.attempted()
        self._writer = Writer(journal, tell)
        self.final: Standing | None = None
        # Of a batch that goes on, what is not read again may be in the journal all the same.
        self._goes_on = self._reader.stored() > 0
        self._seen = _Numbers()

    def find(self, ids: list[str]) -> dict[str, Row | None]:
        """See `Memory`."""
        found = self._reader.find_all(ids)
        if self._goes_on and found:
            self._seen.add(self._reader.rowids(found))
        return found

    def damage(self, id: str) -> JournalDamaged:
        """See `Memory`."""
        return self._reader.damage(id)

    def attempts(self, id: str) -> list[Attempt]:
        """See `Memory`."""
        return self._reader.attempts(id) if self._has_attempts else []

    def put(self, fact: Fact, token: Any = None) -> None:
        """See `Memory`."""
        self._writer.put(fact, token)

    def settle(self, outcomes: int) -> None:
        """See `Memory`."""
        if self._goes_on:
            same = self._reader.stored() == outcomes
            gone = [] if same else self._reader.absent(self._seen.has, self.epoch)
            self._writer.put(Gone(gone))

    def confirm(self) -> None:
        """See `Memory`."""
        self._writer.confirm()

    def close(self, *, at_once: bool = False) -> None:
        """See `Memory`."""
        self._reader.close()
        self.final = self._writer.close(at_once=at_once, count=self._goes_on)


class Forgetful:
    """No journal: what is told is as good as done."""

    epoch = 1
    final: Standing | None = None

    def __init__(self, tell: Callable[[News], None]) -> None:
        self._tell = tell

    def find(self, ids: list[str]) -> dict[str, Row | None]:
        """See `Memory`."""
        return {}

    def damage(self, id: str) -> JournalDamaged:
        """See `Memory`."""
        return JournalDamaged(id)

    def attempts(self, id: str) -> list[Attempt]:
        """See `Memory`."""
        return []

    def put(self, fact: Fact, token: Any = None) -> None:
        """See `Memory`."""
        if token is not None:
            self._tell(Kept([token]))

    def settle(self, outcomes: int) -> None:
        """See `Memory`."""

    def confirm(self) -> None:
        """See `Memory`."""

    def close(self, *, at_once: bool = False) -> None:
        """See `Memory`."""


class _Numbers:
    """Numbers of rows, a bit each."""

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
