"""What goes into the machine and what comes out: frozen values.

`msgspec.Struct` and no dataclass: two are made for every request, and a frozen dataclass costs
eight times as much. An agent's *instance* is named by its ``key`` (the same name may be spawned
twice), its process by ``key`` and ``generation``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from procorch.errors import AgentError
from procorch.supervision.notices import Notice
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import AgentStatus, Rung


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
        supervised: there is a policy; ``appeals``: it has ``on_child_escalation`` (N6).
        parent: the live instance it is started under.
    """

    key: int
    mailbox: int
    name: str
    settings: AgentSettings
    supervised: bool
    appeals: bool = False
    parent: int | None = None


class Submit(Struct, frozen=True):
    """A request was accepted.

    Args:
        deadline: on the machine's clock; None: ``timeout`` counts from the dispatch.
        timeout: seconds allowed; None: no limit.
        retries, allowed_failures: see `AgentSettings`.
        priority: of those that wait the highest goes first.
        repeatable: nothing shows of an attempt, so it may be tried again when throttled (N23).
    """

    mailbox: int
    request: int
    deadline: float | None = None
    timeout: float | None = None
    retries: int = 0
    allowed_failures: int = 2
    priority: int = 0
    repeatable: bool = True


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


class Leaving(Struct, frozen=True):
    """The agent says that it is finished; its exit follows (N0, normal)."""

    key: int
    generation: int


class Probed(Struct, frozen=True):
    """The progress count that the worker's status page shows (N12)."""

    key: int
    generation: int
    progress: int


class Overgrown(Struct, frozen=True):
    """The worker was seen above its memory limit."""

    key: int
    generation: int
    observed: int


class Broken(Struct, frozen=True):
    """The worker's stream cannot be understood any more."""

    key: int
    generation: int
    error: AgentError


class Exited(Struct, frozen=True):
    """The process has ended; everything it wrote was handed in before."""

    key: int
    generation: int
    exit: Exit


class Judged(Struct, frozen=True):
    """The policy answered; ``fault`` when it misbehaved instead."""

    key: int
    ticket: int
    action: SupervisorAction | None
    fault: BaseException | None = None


class Appealed(Struct, frozen=True):
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
    | StartFailed | Replied | Leaving | Probed | Overgrown | Broken | Exited | Judged | Appealed
    | Tick
)  # fmt: skip


# ---- outputs


class Launch(Struct, frozen=True):
    """Start the process of this generation."""

    key: int
    generation: int


class Send(Struct, frozen=True):
    """Write the request to the worker; ``ahead``: which has another one to finish first."""

    key: int
    generation: int
    request: int
    ahead: bool = False


class Begin(Struct, frozen=True):
    """The worker goes on with a request that was sent ahead."""

    key: int
    request: int


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

    request: int
    error: AgentError | None = None
    payload: Any = None
    sent: tuple[int, ...] = ()


class Ask(Struct, frozen=True):
    """Put the error to the policy; `Judged` with this ticket is the answer."""

    key: int
    name: str
    ticket: int
    error: AgentError


class Appeal(Struct, frozen=True):
    """Ask the policy what the escalation of ``child`` means for its parent ``name``."""

    key: int
    name: str
    ticket: int
    child: str
    error: AgentError


class Probe(Struct, frozen=True):
    """Look at the worker's progress; `Probed` is the answer."""

    key: int
    generation: int


class Press(Struct, frozen=True):
    """Make the process, or just its ``request``, end: ``rung`` says how hard."""

    key: int
    generation: int
    rung: Rung
    request: int = 0


class Started(Struct, frozen=True):
    """The first start succeeded: `spawn` may return."""

    key: int


class Finish(Struct, frozen=True):
    """The instance has ended for good, and its process with it; what is known of it goes along."""

    key: int
    status: AgentStatus
    error: AgentError | None
    restarts: int = 0
    last_exit: str | None = None


class Emit(Struct, frozen=True):
    """Tell whoever watches."""

    key: int
    notice: Notice


Action: TypeAlias = (
    Launch | Send | Begin | Proceed | Resolve | Ask | Appeal | Probe | Press | Started
    | Finish | Emit
)  # fmt: skip
