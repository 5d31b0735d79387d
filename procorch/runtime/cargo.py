"""What the runtime keeps with a request, such as its payload and the future of its caller.

It is `supervision.request.Request.cargo`; the machine never reads it.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from procorch.futures.chunk import Items
from procorch.futures.outcome import ReplyOutcome
from procorch.launch.base import WorkerProcess
from procorch.runtime.mailbox import Mailbox
from procorch.runtime.output import Output
from procorch.wire.headers import TurnHead
from procorch.wire.payload import Parts


class Receiver(Protocol):
    """Receives an outcome: a future of a caller, or a relay for an agent that asks."""

    started: bool
    """Whether a worker has begun the request; written by the owner of the loop."""

    def settle(self, outcome: ReplyOutcome) -> None:
        """Take the outcome; called once, by the owner of the loop."""
        ...


class Cargo(Struct, eq=False):
    """Data of one request that the machine does not need.

    Args:
        agent: name of the agent that it is for.
        mailbox: holds a place for it until it is sent for the first time.
        reply: receives the outcome.
        text: the body is a string to be delivered as a user message.
        submitted: time of the submission, in monotonic seconds.
        stream: the caller reads the answer piece by piece.
        items: the progress of a chunk; None: it is not a chunk.
        sent: the time at which ``process`` began it, on the machine's clock.
        generation: that of ``process``; 0: none has it yet. ``slot``: that of its instance.
        output: the output of that worker's agent; ``mark``: its length before the request.
        turn: the conversation that it is a turn of; None: it is of none.
        placed: it holds a place in its mailbox.
        trace: the span that it belongs to, a `traceparent`.
    """

    agent: str
    mailbox: Mailbox
    reply: Receiver
    text: bool
    body: Parts
    size: int
    submitted: float
    stream: bool = False
    items: Items | None = None
    sent: float | None = None
    process: WorkerProcess | None = None
    generation: int = 0
    slot: int = 0
    output: Output | None = None
    mark: tuple[int, int] = (0, 0)
    turn: TurnHead | None = None
    placed: bool = True
    trace: str | None = None
