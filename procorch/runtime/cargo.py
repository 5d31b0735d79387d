"""What the runtime keeps with a request: what is to be written, and who waits for the answer.

It travels as `supervision.request.Request.cargo`. The machine never looks into it.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from procorch.futures.chunk import Items
from procorch.futures.outcome import Outcome
from procorch.launch.base import WorkerProcess
from procorch.runtime.mailbox import Mailbox
from procorch.runtime.output import Output
from procorch.wire.payload import Parts


class Receiver(Protocol):
    """Who waits for an outcome."""

    started: bool
    """A worker has the request, or has had it; written on the monitor thread."""

    def settle(self, outcome: Outcome) -> None:
        """Here it is; called once, on the monitor thread."""
        ...


class Cargo(Struct, eq=False):
    """What belongs to one request outside of the machine.

    Args:
        agent: name of the agent it is for.
        mailbox: where it holds a place until it is sent for the first time.
        text: the body is a string to be delivered as a user message.
        submitted: when, monotonic seconds.
        stream: pieces of the answer are wanted as they come.
        items: of a chunk, what the monitor sees of it besides its end.
        sent: when ``process`` began it, on the machine's clock; ``generation`` is that of the
            process (0: none yet).
        output: what that worker's agent writes; ``mark``: how much of it was there before.
        placed: it holds a place in its mailbox.
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
    output: Output | None = None
    mark: tuple[int, int] = (0, 0)
    placed: bool = True
