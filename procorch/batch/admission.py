"""Items on their way in: read, looked up, and given a turn."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator

from procorch.batch import values
from procorch.batch.duplicate_names import twice
from procorch.batch.errors import JournalMismatch
from procorch.batch.items import Row, SourceItem
from procorch.batch.options import Flight, Terms
from procorch.batch.outcomes import error_of
from procorch.batch.reader_thread import Feed
from procorch.batch.store import Memory
from procorch.errors import AgentCrashed

_CHUNK = 64
"""Items looked up together: each look into the journal hands the interpreter to other threads."""


class Intake:
    """Takes items from their source, each exactly once.

    Args:
        source: the items in the order in which they are to be begun, or a feed that reads ahead.
        ahead: they cost nothing to read, so a few of them are read before they are needed.
    """

    def __init__(
        self, source: Iterator[SourceItem] | Feed, memory: Memory, terms: Terms, *, ahead: bool
    ) -> None:
        self._source = source
        self._memory = memory
        self._terms = terms
        self._chunk = _CHUNK if ahead else 1
        self._ended = False
        self._turns = itertools.count()
        self._read: deque[SourceItem] = deque()
        self._known: dict[str, Row | None] = {}
        self._open: dict[str, str] = {}
        self._settled: list[str] = []

    @property
    def exhausted(self) -> bool:
        """Whether there are no more items."""
        return self._ended and not self._read

    def next(self) -> Flight | tuple[Row, int] | None:
        """An item to be run, or the outcome that it has already, with its turn.

        None: there is none now, and (`exhausted`) maybe none will come.

        Raises:
            BatchError: the input cannot be read any further; it names an item twice; or an item is
                not what it was in an earlier run.
        """
        if not self._read and not self._ended:
            self._look_up()
        return self._admitted(self._read.popleft()) if self._read else None

    def settled(self, id: str) -> None:
        """The journal has the outcome of an item: the next look into it will find it."""
        self._settled.append(id)

    def close(self) -> None:
        """Read no more; from any thread."""
        if isinstance(self._source, Feed):
            self._source.close()

    def _look_up(self) -> None:
        for id in self._settled:
            del self._open[id]
        self._settled.clear()
        if isinstance(self._source, Feed):
            item = self._source.take()
            self._ended = self._source.over
            items = [] if item is None else [item]
        else:
            items = list(itertools.islice(self._source, self._chunk))
            self._ended = len(items) < self._chunk
        self._read.extend(items)
        self._known = self._memory.find([item.id for item in items])

    def _admitted(self, item: SourceItem) -> Flight | tuple[Row, int]:
        if item.id in self._open:
            raise twice(item, self._open[item.id])
        turn, digest = next(self._turns), values.digest(item.value, *item.more)
        row = self._known.get(item.id)
        if row is None:
            if item.id in self._known and not self._terms.retry_failed:
                raise self._memory.damage(item.id)
            flight = Flight(item, digest, turn)
            self._recall(flight)
        else:
            moved = row.position != item.position
            if row.epoch == self._memory.epoch or (moved and self._terms.unmoved):
                raise twice(item, f"item number {row.position + 1} of the input")
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

    def _recall(self, flight: Flight) -> None:
        """Attempts of a runner that did not live to see the outcome count."""
        for attempt in self._memory.attempts(flight.item.id):
            flight.number = attempt.number
            flight.tries += 1
            error = error_of(attempt)
            if isinstance(error, AgentCrashed):
                flight.deaths.append(error)
