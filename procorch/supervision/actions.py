"""What the machine answers with: actions that the runtime performs, in their order."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from procorch.errors import AgentError
from procorch.supervision.notices import Notice
from procorch.supervision.request import Request
from procorch.supervision.states import AgentStatus, StopStage


class Launch(Struct, frozen=True):
    """Start the process of this generation."""

    key: int
    generation: int


class Send(Struct, frozen=True):
    """Write the request to the worker; ``ahead``: which has another one to finish first."""

    key: int
    generation: int
    request: Request
    ahead: bool = False


class BeginAhead(Struct, frozen=True):
    """The worker goes on with a request that was sent ahead."""

    key: int
    request: Request


class Proceed(Struct, frozen=True):
    """The worker, which waits since it answered with an error, may go on."""

    key: int
    generation: int


class Resolve(Struct, frozen=True):
    """The one outcome of a request: an ``error``, a reply's ``payload``, or both (error reply).

    Args:
        sent: it is at a worker that has not answered it: itself, and what that worker was given
            after it. The worker is told not to begin it, if it has not. It has begun it if the last
            one that it began is one of these; then the ``error`` is to say so.
    """

    request: Request
    error: AgentError | None = None
    payload: Any = None
    sent: tuple[int, ...] = ()


class AskPolicy(Struct, frozen=True):
    """Put the error to the policy; `PolicyAnswered` with this ticket is the answer."""

    key: int
    name: str
    ticket: int
    error: AgentError


class Reconsider(Struct, frozen=True):
    """AskPolicy the policy what the escalation of ``child`` means for its parent ``name``."""

    key: int
    name: str
    ticket: int
    child: str
    error: AgentError


class Probe(Struct, frozen=True):
    """Look at the worker's progress; `Probed` is the answer."""

    key: int
    generation: int


class StopProcess(Struct, frozen=True):
    """Make the process, or just its ``request``, end: ``stage`` says how hard."""

    key: int
    generation: int
    stage: StopStage
    request: int = 0


class Started(Struct, frozen=True):
    """The first start succeeded: `spawn` may return."""

    key: int


class Ended(Struct, frozen=True):
    """The instance has ended for good, and its process with it; what is known of it goes along."""

    key: int
    status: AgentStatus
    error: AgentError | None
    restarts: int = 0
    last_exit: str | None = None


class Notify(Struct, frozen=True):
    """Tell whoever watches."""

    key: int
    notice: Notice


Action: TypeAlias = (
    Launch | Send | BeginAhead | Proceed | Resolve | AskPolicy | Reconsider | Probe | StopProcess
    | Started | Ended | Notify
)  # fmt: skip
