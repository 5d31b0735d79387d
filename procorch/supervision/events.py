"""What goes into the machine: frozen values. What comes out of it is in `actions`.

`msgspec.Struct` and no dataclass: two are made for every request, and a frozen dataclass costs
eight times as much. An agent's *instance* is named by its ``key`` (the same name may be spawned
twice), its process by ``key`` and ``generation``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from procorch.errors import AgentError
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.request import Request
from procorch.supervision.settings import AgentSettings


class Exit(Struct, frozen=True):
    """How a process ended, as far as anybody knows.

    Args:
        code: exit code, None if a signal ended it or nobody knows.
        signal: name of the signal that ended it.
        started: the last request the worker began, by its status page (0: none).
        lost: it went out of sight; it may still be alive.
        detail: what is known beyond that.
    """

    code: int | None = None
    signal: str | None = None
    pid: int | None = None
    started: int = 0
    last_stack: str | None = None
    stderr_tail: str | None = None
    peak_rss: int | None = None
    lost: bool = False
    detail: str | None = None

    def describe(self) -> str:
        """In words that follow the agent's name: "(pid 7) was killed by SIGSEGV"."""
        who = "" if self.pid is None else f"(pid {self.pid}) "
        if self.signal is not None:
            return f"{who}was killed by {self.signal}"
        if self.code is not None:
            return f"{who}exited with code {self.code}"
        how = "went out of sight" if self.lost else "ended with an unknown exit status"
        why = "" if self.detail is None else f" ({self.detail})"
        return f"{who}{how}{why}"


# ---- inputs: what users ask for


class Spawn(Struct, frozen=True):
    """Start an instance.

    Args:
        mailbox: where it takes its requests from; replicas share one.
        supervised: there is a policy; ``reconsiders``: it has ``on_child_escalation`` (N6).
        parent: the live instance it is started under.
    """

    key: int
    mailbox: int
    name: str
    settings: AgentSettings
    supervised: bool
    reconsiders: bool = False
    parent: int | None = None


class Submit(Struct, frozen=True):
    """A request was accepted."""

    request: Request


class SetWidth(Struct, frozen=True):
    """At most ``width`` members of a mailbox may be busy at once; those beyond are warm spares."""

    mailbox: int
    width: int


class CancelRequest(Struct, frozen=True):
    """The caller wants one request gone; ``waiting``: only if no worker has got it."""

    request: int
    waiting: bool = False


class Cancel(Struct, frozen=True):
    """End the agent now; it ends CANCELLED (N14)."""

    key: int


class Drain(Struct, frozen=True):
    """Close the agent's channel: it finishes what was accepted, then ends COMPLETED."""

    key: int


class Stop(Struct, frozen=True):
    """End the agent on request (STOPPED): drain for ``grace`` seconds, then up the ladder."""

    key: int
    grace: float


class Restart(Struct, frozen=True):
    """Replace the process on request: not counted (N1)."""

    key: int


class Close(Struct, frozen=True):
    """The orchestrator closes: no more restarts; drain until ``deadline`` or abort (N7, N15)."""

    drain: bool
    deadline: float


# ---- inputs: what the world does


class Ready(Struct, frozen=True):
    """The worker has built its agent."""

    key: int
    generation: int


class StartFailed(Struct, frozen=True):
    """The worker reported why it could not build its agent; its exit follows."""

    key: int
    generation: int
    error: AgentError


class Replied(Struct, frozen=True):
    """The worker answered a request; ``payload`` passes through untouched.

    ``used``: the most memory that it held during the request, in bytes; 0: nobody asked.
    """

    key: int
    generation: int
    request: int
    error: AgentError | None = None
    payload: Any = None
    used: int = 0


class AgentFinished(Struct, frozen=True):
    """The agent says that it is finished; its exit follows (N0, normal)."""

    key: int
    generation: int


class Probed(Struct, frozen=True):
    """The progress count that the worker's status page shows (N12)."""

    key: int
    generation: int
    progress: int


class MemoryExceeded(Struct, frozen=True):
    """The worker was seen above its memory limit."""

    key: int
    generation: int
    observed: int


class StreamBroken(Struct, frozen=True):
    """The worker's stream cannot be understood any more."""

    key: int
    generation: int
    error: AgentError


class Exited(Struct, frozen=True):
    """The process has ended; everything it wrote was handed in before."""

    key: int
    generation: int
    exit: Exit


class PolicyAnswered(Struct, frozen=True):
    """The policy answered; ``fault`` when it misbehaved instead."""

    key: int
    ticket: int
    action: SupervisorAction | None
    fault: BaseException | None = None


class Reconsidered(Struct, frozen=True):
    """The policy answered about the parent of an escalating child (N6)."""

    key: int
    ticket: int
    child: str
    error: AgentError
    action: SupervisorAction | None
    fault: BaseException | None = None


class Tick(Struct, frozen=True):
    """Time has passed."""


Event: TypeAlias = (
    Spawn | Submit | SetWidth | CancelRequest | Cancel | Drain | Stop | Restart | Close | Ready
    | StartFailed | Replied | AgentFinished | Probed | MemoryExceeded | StreamBroken | Exited
    | PolicyAnswered | Reconsidered | Tick
)  # fmt: skip
