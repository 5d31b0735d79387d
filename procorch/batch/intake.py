"""Items on their way in: read, looked up, and given a turn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from procorch.batch import values
from procorch.batch.errors import BatchInputError, JournalDamaged, JournalMismatch
from procorch.batch.feed import Feed
from procorch.batch.items import Row, SourceItem
from procorch.batch.memory import Memory
from procorch.batch.outcomes import error_of
from procorch.batch.terms import Flight, Terms
from procorch.errors import AgentCrashed


class Intake:
    """Takes items from their source, each exactly once.

    Args:
        source: the items in the order in which they are to be begun, or a feed that reads ahead.
    """

    def __init__(self, source: Iterator[SourceItem] | Feed, memory: Memory, terms: Terms) -> None:
        self.exhausted = False
        self._source = source
        self._memory = memory
        self._terms = terms
        self._turns = itertools.count()
        self._open: dict[str, str] = {}

    def next(self) -> Flight | tuple[Row, int] | None:
        """An item to be run, or the outcome that it has already, with its turn.

        None: there is none now, and (`exhausted`) maybe none will come.

        Raises:
            BatchError: the input cannot be read any further; it names an item twice; or an item is
                not what it was in an earlier run.
        """
        if isinstance(self._source, Feed):
            item = self._source.take()
            self.exhausted = self._source.over
        else:
            item = next(self._source, None)
            self.exhausted = item is None
        return None if item is None else self._admitted(item)

    def settled(self, id: str) -> None:
        """The journal has the outcome of an item: from now on it knows it."""
        del self._open[id]

    def _admitted(self, item: SourceItem) -> Flight | tuple[Row, int]:
        if item.id in self._open:
            raise _twice(item, self._open[item.id])
        turn, digest = next(self._turns), values.digest(item.value, *item.more)
        row = self._found(item)
        if row is None:
            flight = Flight(item, digest, turn)
            self._recall(flight)
        else:
            moved = row.position != item.position
            if row.epoch == self._memory.epoch or (moved and self._terms.unmoved):
                raise _twice(item, f"item number {row.position + 1} of the input")
            same = row.digest == digest
            if not same and not self._terms.accept_changes:
                raise JournalMismatch(
                    f"item {item.id!r} ({item.where}) is not what it was when it was run; "
                    "accept_changes=True (--accept-changes) runs what has changed again"
                )
            if same and (row.ok or not self._terms.retry_failed):
                return row, turn
            flight = Flight(item, digest, turn, number=row.attempts)
        self._open[item.id] = item.where
        return flight

    def _found(self, item: SourceItem) -> Row | None:
        try:
            return self._memory.find(item.id)
        except JournalDamaged:
            if self._terms.retry_failed:
                return None
            raise

    def _recall(self, flight: Flight) -> None:
        """Attempts of a runner that did not live to see the outcome count."""
        for attempt in self._memory.attempts(flight.item.id):
            flight.number = attempt.number
            flight.tries += 1
            error = error_of(attempt)
            if isinstance(error, AgentCrashed):
                flight.deaths.append(error)


def _twice(item: SourceItem, before: str) -> BatchInputError:
    return BatchInputError(f"item {item.id!r} is there twice: {before}, and {item.where}")
