"""The future of a chunk: many items in one request (``worker.chunk`` has the other end)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from msgspec import Struct, field

from procorch.errors import AgentError
from procorch.futures import socket_readers
from procorch.futures.fork_guard import must_be_ours
from procorch.futures.latch import Latch
from procorch.futures.reply import Reply
from procorch.messages import RequestMetrics
from procorch.wire.item_list import BrokenItem as BrokenItem
from procorch.wire.item_list import ItemList as ItemList
from procorch.wire.payload import Buffer, Content, unpack


def _ignore() -> None:
    """Nobody waits for parts."""


class Items(Struct, eq=False):
    """Progress of a chunk, recorded by the monitor; complete once the outcome is fixed.

    Args:
        parts: results of the first items, undecoded.
        on_part: called after a part was added; must neither block nor raise.
        begun: how many items the worker had begun when it died; 0 if it did not die.
        whole: the worker does all items, and gives none back if they take long.
    """

    parts: list[Content] = field(default_factory=list)
    on_part: Callable[[], None] = _ignore
    begun: int = 0
    whole: bool = False

    def add(self, part: Content) -> None:
        """Results of the next items have come."""
        self.parts.append(part)
        self.on_part()


class ChunkAnswer(NamedTuple):
    """The answer to a chunk.

    Args:
        outputs: results of the first items, in order; a `BrokenItem` for a result that cannot be
            loaded here.
        simple: all results are of `SIMPLE` classes.
        error: why results are missing; None if the worker gave the remaining items back, or if no
            result is missing.
        begun: how many items the worker had begun when it died.
        metrics: of the chunk as a whole; None if the worker died.
    """

    outputs: list[Any]
    simple: bool
    error: AgentError | None
    begun: int
    metrics: RequestMetrics | None


class ChunkReply(Reply[ItemList]):
    """The future of a chunk: see `answer`."""

    def __init__(self, *args: Any, whole: bool = False) -> None:
        super().__init__(*args)
        self.items: Items = Items(whole=whole)

    def decode(self, body: Buffer) -> ItemList:
        """See `Reply.decode`: the results in the body of the reply."""
        return ItemList.load(body, what="reply")

    def count(self) -> int:
        """How many results there are, once the outcome is fixed.

        No code of the user is run for this, so any thread may ask.
        """
        parts = [ItemList.load(unpack(part), what="reply") for part in self.items.parts]
        if self.failure is None:
            parts.append(self.result())
        return sum(len(part.entries) for part in parts)

    def arriving(self, end: float | None) -> Iterator[tuple[ItemList, bool]]:
        """The results as they come, a part at a time; of a chunk that fails those before that. To
        be called once, in place of `answer`.

        Args:
            end: monotonic seconds.

        Returns:
            Parts, each with whether it is the last.

        Raises:
            TimeoutError: there is nothing new at ``end``.
            RequestCancelled: it was cancelled.
            SerializationError: the reply is damaged.
        """
        must_be_ours(self._owner)
        parts, taken, latch = self.items.parts, 0, Latch()

        def tell() -> None:
            latch.open()

        self.items.on_part = tell
        self.notify(tell)
        done = False
        while not done:
            latch = Latch()  # Looked at after this, and opened after something has come.
            done = self.done()
            if not done and taken == len(parts):
                self._wait_for(latch, end)
                continue
            while taken < len(parts):
                taken += 1
                yield ItemList.load(unpack(parts[taken - 1]), what="reply"), False
        error = self.exception()
        if error is None:
            yield self.result(), True
        elif self.failure is None:
            raise error
        else:
            yield ItemList(True, []), True

    def _wait_for(self, latch: Latch, end: float | None) -> None:
        socket_readers.give_back()
        left = None if end is None else max(0.0, end - time.monotonic())
        if not latch.wait(self._clock.attend(latch.is_open, left)):
            raise TimeoutError

    def answer(self) -> ChunkAnswer:
        """Wait for the answer and decode it. To be called once.

        Raises:
            RequestCancelled: it was cancelled.
        """
        error = self.exception()
        parts = [ItemList.load(unpack(part), what="reply") for part in self.items.parts]
        metrics = None
        if error is None:
            parts.append(self.result())
            metrics = self.metrics
        outputs: list[Any] = []
        for part in parts:
            outputs += part.items(what="reply")
        simple = all(part.simple for part in parts)
        assert error is None or isinstance(error, AgentError)
        return ChunkAnswer(outputs, simple, error, self.items.begun, metrics)
