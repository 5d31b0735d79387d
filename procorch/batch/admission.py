"""Admission: items are read, looked up in the store, and numbered."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator

from procorch.batch import values
from procorch.batch.duplicate_names import duplicate_error
from procorch.batch.errors import JournalMismatch
from procorch.batch.options import ActiveItem, BatchOptions
from procorch.batch.outcomes import error_of
from procorch.batch.reader_thread import ReaderThread
from procorch.batch.records import ItemRecord, SourceItem
from procorch.batch.store import Store
from procorch.errors import AgentCrashed

_LOOKUP = 64
"""Items looked up together: each query of the journal lets other threads run."""


class Admission:
    """Takes items from their source, each exactly once.

    Args:
        source: the items in the order in which they are to be begun, or a thread that reads them.
        ahead: read several items before they are needed, since reading them takes no time.
    """

    def __init__(
        self,
        source: Iterator[SourceItem] | ReaderThread,
        store: Store,
        options: BatchOptions,
        *,
        ahead: bool,
    ) -> None:
        self._source = source
        self._store = store
        self._options = options
        self._lookup = _LOOKUP if ahead else 1
        self._ended = False
        self._turns = itertools.count()
        self._read: deque[SourceItem] = deque()
        self._known: dict[str, ItemRecord | None] = {}
        self._uncommitted: dict[str, str] = {}
        self._committed: list[str] = []

    @property
    def exhausted(self) -> bool:
        """Whether there are no more items."""
        return self._ended and not self._read

    def next(self) -> ActiveItem | tuple[ItemRecord, int] | None:
        """An item to be run, or the outcome that it has already, with its turn.

        Returns:
            None if there is no item now; `exhausted` says whether there will be one.

        Raises:
            BatchError: the input cannot be read any further, a name occurs twice in it, or an item
                has changed since an earlier run.
        """
        if not self._read and not self._ended:
            self._look_up()
        return self._admitted(self._read.popleft()) if self._read else None

    def committed(self, id: str) -> None:
        """Note that the journal has the outcome of an item: the next query of it finds it."""
        self._committed.append(id)

    def close(self) -> None:
        """Read no more; from any thread."""
        if isinstance(self._source, ReaderThread):
            self._source.close()

    def _look_up(self) -> None:
        for id in self._committed:
            del self._uncommitted[id]
        self._committed.clear()
        if isinstance(self._source, ReaderThread):
            item = self._source.take()
            self._ended = self._source.over
            items = [] if item is None else [item]
        else:
            items = list(itertools.islice(self._source, self._lookup))
            self._ended = len(items) < self._lookup
        self._read.extend(items)
        self._known = self._store.find([item.id for item in items])

    def _admitted(self, item: SourceItem) -> ActiveItem | tuple[ItemRecord, int]:
        if item.id in self._uncommitted:
            raise duplicate_error(item, self._uncommitted[item.id])
        turn, digest = next(self._turns), values.digest(item.value, *item.more)
        record = self._known.get(item.id)
        if record is None:
            if item.id in self._known and not self._options.retry_failed:
                raise self._store.damage(item.id)
            active = ActiveItem(item, digest, turn)
            self._recall(active)
        else:
            moved = record.position != item.position
            if record.epoch == self._store.epoch or (moved and self._options.input_unchanged):
                raise duplicate_error(item, f"item number {record.position + 1} of the input")
            same = record.digest == digest
            if not same and not self._options.accept_changes:
                raise JournalMismatch(
                    f"item {item.id!r} ({item.where}) is not what it was when it was run; "
                    "accept_changes=True (--accept-changes) runs what has changed again"
                )
            if same and (record.ok or not self._options.retry_failed):
                return record, turn
            active = ActiveItem(item, digest, turn, number=record.attempts)
        self._uncommitted[item.id] = item.where
        return active

    def _recall(self, active: ActiveItem) -> None:
        """Count the attempts of an earlier runner that was killed before the outcome."""
        for attempt in self._store.attempts(active.item.id):
            active.number = attempt.number
            active.tries += 1
            error = error_of(attempt)
            if isinstance(error, AgentCrashed):
                active.deaths.append(error)
