"""The future of a chunk: many items in one request (``worker.chunk`` has the other end)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from procorch.errors import AgentError
from procorch.futures.reply import Reply
from procorch.messages import RequestMetrics
from procorch.wire.item_list import Broken as Broken
from procorch.wire.item_list import Several as Several
from procorch.wire.payload import Buffer, Content, unpack


@dataclass(slots=True, eq=False)
class Items:
    """Progress of a chunk, recorded by the monitor; complete once the outcome is fixed.

    Args:
        parts: results of the first items, undecoded.
        begun: how many items the worker had begun when it died; 0 if it did not die.
        whole: the worker does all items, and gives none back if they take long.
    """

    parts: list[Content] = field(default_factory=list)
    begun: int = 0
    whole: bool = False


class ChunkAnswer(NamedTuple):
    """The answer to a chunk.

    Args:
        outputs: results of the first items, in order; a `Broken` for a result that cannot be loaded
            here.
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


class ChunkReply(Reply[Several]):
    """The future of a chunk: see `answer`."""

    def __init__(self, *args: Any, whole: bool = False) -> None:
        super().__init__(*args)
        self.items: Items = Items(whole=whole)

    def decode(self, body: Buffer) -> Several:
        """See `Reply.decode`: the results in the body of the reply."""
        return Several.load(body, what="reply")

    def count(self) -> int:
        """How many results a chunk that has failed gave before its failure.

        No code of the user is run for this, so any thread may ask.
        """
        parts = (Several.load(unpack(part), what="reply") for part in self.items.parts)
        return sum(len(part.entries) for part in parts)

    def answer(self) -> ChunkAnswer:
        """Wait for the answer and decode it. To be called once.

        Raises:
            RequestCancelled: it was cancelled.
        """
        error = self.exception()
        parts = [Several.load(unpack(part), what="reply") for part in self.items.parts]
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
