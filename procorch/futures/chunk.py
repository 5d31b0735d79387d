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
    """What the monitor sees of a chunk before its outcome. Complete once that is fixed.

    Args:
        parts: results of the first items, sealed.
        begun: how many items the worker that died had begun; 0 where none died.
        whole: the worker does not give the rest back because it takes long.
    """

    parts: list[Content] = field(default_factory=list)
    begun: int = 0
    whole: bool = False


class ChunkAnswer(NamedTuple):
    """What became of a chunk.

    Args:
        outputs: of the first items, in order; a `Broken` for one that does not load here.
        simple: all of them are of `SIMPLE` classes.
        error: why there are no more; None where the agent has done all that it wanted to.
        begun: how many items a worker that died had begun.
        metrics: figures of the whole; None where it died.
    """

    outputs: list[Any]
    simple: bool
    error: AgentError | None
    begun: int
    metrics: RequestMetrics | None


class ChunkReply(Reply[tuple[Several, RequestMetrics | None]]):
    """The future of a chunk: see `answer`."""

    def __init__(self, *given: Any, lead: int = 0, whole: bool = False) -> None:
        super().__init__(*given)
        self.lead = lead  # so many of the first items are no business of the caller's
        self.items: Items = Items(whole=whole)

    def shaped(
        self, body: Buffer, metrics: RequestMetrics | None
    ) -> tuple[Several, RequestMetrics | None]:
        """See `Reply.shaped`: the results that came with the reply."""
        return Several.load(body, what="reply"), metrics

    def count(self) -> int:
        """How many results came before the failure of a chunk that has failed: nothing is decoded
        that runs the user's code, so any thread may ask."""
        parts = (Several.load(unpack(part), what="reply") for part in self.items.parts)
        return sum(len(part.entries) for part in parts) - self.lead

    def answer(self) -> ChunkAnswer:
        """What became of it, waiting for that. To be called once.

        Raises:
            RequestCancelled: it was cancelled.
        """
        error = self.exception()
        parts = [Several.load(unpack(part), what="reply") for part in self.items.parts]
        metrics = None
        if error is None:
            last, metrics = self.result()
            parts.append(last)
        outputs: list[Any] = []
        for part in parts:
            outputs += part.items(what="reply")
        simple = all(part.simple for part in parts)
        assert error is None or isinstance(error, AgentError)
        begun = max(0, self.items.begun - self.lead)
        return ChunkAnswer(outputs[self.lead :], simple, error, begun, metrics)
