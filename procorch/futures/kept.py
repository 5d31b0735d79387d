"""Futures of requests in named conversations: an answer counts when it is stored.

The thread that fixes the outcome of an answer hands it to a thread that stores it, and that thread
ends the future. So nobody gets an answer that a kill of this process could make forgotten. From the
moment at which an answer is handed over it can no longer be cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures._base import FINISHED
from typing import Any, NamedTuple

from procorch.futures.outcome import ReplyOutcome
from procorch.futures.reply import ReplyFuture
from procorch.futures.stream import StreamReply


class KeptTurn(NamedTuple):
    """What is stored of a turn.

    Args:
        form: of the state; None: there is none. ``kind``: what made it.
        length: how many messages there are.
        messages: the messages as bytes; ``state``: the state as bytes.
    """

    form: str | None
    kind: str
    length: int
    messages: bytes
    state: bytes


class KeptReply(ReplyFuture[Any]):
    """The future of a turn.

    Attributes:
        turn: what the worker wants stored; None: it has sent nothing yet.
        on_outcome: called with the outcome of an answer, which `finish` must get, or with None when
            the request has ended otherwise; it must not block.
    """

    turn: KeptTurn | None = None
    on_outcome: Callable[[ReplyOutcome | None], None] = staticmethod(lambda outcome: None)

    def settle(self, outcome: ReplyOutcome) -> None:
        """See `Reply`."""
        answered = outcome.error is None and not outcome.withdrawn
        if answered and self.__dict__.setdefault("_ended_by", FINISHED) == FINISHED:
            self.on_outcome(outcome)
            return
        super().settle(outcome)
        self.on_outcome(None)

    def finish(self, outcome: ReplyOutcome) -> None:
        """The answer was stored, or could not be stored: fix the outcome."""
        super().settle(outcome)


class KeptStream(KeptReply, StreamReply):
    """The same for an answer that is read while it arrives."""
