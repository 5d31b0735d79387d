"""Actions: what the machine returns, for the runtime to perform in order."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from procorch.errors import AgentError
from procorch.supervision.notices import AgentEvent
from procorch.supervision.request import Request
from procorch.supervision.states import AgentStatus, StopStage


class Launch(Struct, frozen=True):
    """Start the process of this generation, from this release.

    ``beside``: the current process goes on, until `TakeOver`.
    """

    key: int
    generation: int
    release: int = 1
    beside: bool = False


class TakeOver(Struct, frozen=True):
    """The process beside is the current one from now on, and the current one is beside it."""

    key: int
    generation: int
    release: int


class Send(Struct, frozen=True):
    """Write the request to the worker; ``ahead``: it has another request to finish first."""

    key: int
    generation: int
    request: Request
    ahead: bool = False


class BeginAhead(Struct, frozen=True):
    """The worker begins a request that was sent ahead."""

    key: int
    request: Request


class TakeBack(Struct, frozen=True):
    """Take back the first ``number`` requests that were sent to the worker and have not begun;
    `TakenBack` is the answer."""

    key: int
    generation: int
    number: int


class Withdraw(Struct, frozen=True):
    """The worker has not begun a request after all, which waits again."""

    request: Request


class Proceed(Struct, frozen=True):
    """Let a worker go on that answered with an error and waits for this."""

    key: int
    generation: int


class Resolve(Struct, frozen=True):
    """The one outcome of a request: an ``error``, a reply's ``payload``, or both (error reply).

    Args:
        sent: the numbers of this request and of the requests sent after it, if a worker has it and
            has not answered. The runtime tells the worker not to begin it. The worker has begun it
            if the last request that it began is one of these; the ``error`` then says so.
    """

    request: Request
    error: AgentError | None = None
    payload: Any = None
    sent: tuple[int, ...] = ()


class AskPolicy(Struct, frozen=True):
    """Ask the policy about an error; `PolicyAnswered` with this ticket is the answer."""

    key: int
    name: str
    ticket: int
    error: AgentError


class Reconsider(Struct, frozen=True):
    """Ask the policy what the escalation of ``child`` means for its parent ``name``.

    `Reconsidered` with this ticket is the answer.
    """

    key: int
    name: str
    ticket: int
    child: str
    error: AgentError


class Probe(Struct, frozen=True):
    """Read the worker's progress count; `Probed` is the answer."""

    key: int
    generation: int


class StopProcess(Struct, frozen=True):
    """Apply ``stage`` of the ladder to the process, or to its ``request`` only."""

    key: int
    generation: int
    stage: StopStage
    request: int = 0


class CancelTask(Struct, frozen=True):
    """Have a process that runs several requests at once cancel the task of one of them."""

    key: int
    generation: int
    request: int


class ReloadEnded(Struct, frozen=True):
    """The change to a release is over; ``error``: it has failed, and the old release goes on."""

    key: int
    error: AgentError | None = None


class Started(Struct, frozen=True):
    """The first start succeeded: `spawn` may return."""

    key: int


class Ended(Struct, frozen=True):
    """The instance and its process have ended; the last facts about it."""

    key: int
    status: AgentStatus
    error: AgentError | None
    restarts: int = 0
    last_exit: str | None = None


class AgentEnded(Struct, frozen=True):
    """All instances of an agent have ended, and there will be no further one."""

    agent: int
    status: AgentStatus
    error: AgentError | None


class Notify(Struct, frozen=True):
    """Publish a notice."""

    key: int
    notice: AgentEvent


Action: TypeAlias = (
    Launch | TakeOver | ReloadEnded | Send | BeginAhead | TakeBack | Withdraw | Proceed | Resolve
    | AskPolicy | Reconsider | Probe | StopProcess | CancelTask | Started | Ended | AgentEnded
    | Notify
)  # fmt: skip
