"""One record for each request, from its creation until its outcome is fixed."""

from __future__ import annotations

from enum import Enum
from typing import Any

from msgspec import Struct

from procorch.errors import AgentCrashed


class RequestState(Enum):
    """The state of a request. Only `ledger.Ledger` assigns it."""

    NEW = "new"
    """Its caller has created it; the machine does not know it yet."""
    QUEUED = "queued"
    """It waits in its mailbox."""
    SENT = "sent"
    """It was sent to a worker, perhaps ahead."""
    RESOLVED = "resolved"
    """Its outcome is fixed."""


class Request(Struct, eq=False):
    """One request.

    Args:
        mailbox: number of its queue.
        timeout: seconds allowed; None: no limit.
        deadline: time on the machine's clock; None: ``timeout`` counts from the dispatch.
        retries: how often it may be tried again after its worker died.
        allowed_failures: more deaths than this make it poison (N3).
        priority: the highest goes first; equal ones in order of acceptance.
        repeatable: an attempt has no visible effect, so it may be tried again after a pause (N23).
        alone: it is never sent ahead of its turn; its body is large.
        cargo: data of the runtime, such as the payload and the future of the caller.
            The machine never looks into it.
        worker: the instance it was sent to; None while it waits.
        place: it is the n-th request that was sent to its process.
        deaths: the deaths of the workers that had it; ``spared``: so many of them were because of
            another request, which ran at the same time.
        throttled: how often a service throttled it (N23).
    """

    id: int
    mailbox: int
    timeout: float | None = None
    deadline: float | None = None
    retries: int = 0
    allowed_failures: int = 2
    priority: int = 0
    repeatable: bool = True
    cargo: Any = None
    alone: bool = False
    state: RequestState = RequestState.NEW
    worker: int | None = None
    place: int = 0
    deaths: tuple[AgentCrashed, ...] = ()
    spared: int = 0
    throttled: int = 0

    @property
    def executed(self) -> bool:
        """Whether a worker that died, or an attempt that was throttled, had begun it."""
        return self.throttled > 0 or any(death.may_have_executed for death in self.deaths)

    @property
    def is_open(self) -> bool:
        """Whether it still needs an outcome."""
        return self.state is not RequestState.RESOLVED

    def __repr__(self) -> str:
        return f"<request {self.id}, {self.state.value}>"
