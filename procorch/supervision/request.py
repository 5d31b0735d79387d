"""One record a request, from the moment its caller has made it until its outcome is fixed."""

from __future__ import annotations

from enum import Enum
from typing import Any

from msgspec import Struct

from procorch.errors import AgentCrashed


class RequestState(Enum):
    """Where a request is. Only `ledger.Ledger` assigns one."""

    NEW = "new"
    """Its caller has made it; the machine does not know it yet."""
    QUEUED = "queued"
    """It waits in its mailbox."""
    SENT = "sent"
    """A worker has it, or was sent it ahead."""
    RESOLVED = "resolved"
    """Its outcome is fixed."""


class Request(Struct, eq=False):
    """One request.

    Args:
        mailbox: number of the queue it waits in.
        timeout: seconds allowed; None: no limit.
        deadline: on the machine's clock; None: ``timeout`` counts from the dispatch.
        retries: how often it may be tried again after its worker died.
        allowed_failures: more deaths than this make it poison (N3).
        priority: of those that wait the highest goes first; equals in order of acceptance.
        repeatable: nothing shows of an attempt, so it may be tried again when throttled (N23).
        cargo: what the runtime keeps with it (what is to be written, who waits for the answer).
            The machine never looks into it.
        worker: the instance it was sent to; None while it waits.
        deaths: the workers it has killed.
        throttled: how often it was (N23).
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
    state: RequestState = RequestState.NEW
    worker: int | None = None
    deaths: tuple[AgentCrashed, ...] = ()
    throttled: int = 0

    @property
    def executed(self) -> bool:
        """Whether one of those workers had begun it, or one was throttled with it."""
        return self.throttled > 0 or any(death.may_have_executed for death in self.deaths)

    @property
    def is_open(self) -> bool:
        """Whether it still needs an outcome."""
        return self.state is not RequestState.RESOLVED

    def __repr__(self) -> str:
        return f"<request {self.id}, {self.state.value}>"
