"""Events: frozen values that go into the machine. `actions` has what it returns.

They are `msgspec.Struct` and not dataclasses: each request makes two of them, and a frozen
dataclass costs eight times as much. A ``key`` identifies an *instance* of an agent. ``key`` and
``generation`` identify its process. An ``agent`` is identified by the number of its queue, because
one name may be spawned twice.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from procorch.errors import AgentError
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.request import Request
from procorch.supervision.settings import AgentSettings


class Exit(Struct, frozen=True):
    """How a process ended, as far as procorch knows.

    Args:
        code: exit code; None if a signal ended it or the code is unknown.
        signal: name of the signal that ended it.
        started: the last request that the worker began, from its status page; 0: none. If it ran
            several at once: the one whose code was running; 0: that of none.
        begun: the requests that such a worker had begun and not answered.
        lost: the launcher lost contact with it; it may still be alive.
        node: the node of the cluster that it ran on; None: it ran on this machine.
        unplaced: it was given up before it was placed on a node.
        detail: further facts, as text.
    """

    code: int | None = None
    signal: str | None = None
    pid: int | None = None
    started: int = 0
    begun: tuple[int, ...] = ()
    last_stack: str | None = None
    stderr_tail: str | None = None
    peak_rss: int | None = None
    lost: bool = False
    detail: str | None = None
    node: str | None = None
    unplaced: bool = False

    def describe(self) -> str:
        """A text to follow the agent's name, such as "(pid 7) was killed by SIGSEGV"."""
        who = "" if self.pid is None else f"(pid {self.pid}) "
        if self.signal is not None:
            return f"{who}was killed by {self.signal}"
        if self.code is not None:
            return f"{who}exited with code {self.code}"
        if self.unplaced:
            return f"was not placed on a node ({self.detail})"
        how = "can no longer be reached" if self.lost else "ended with an unknown exit status"
        why = "" if self.detail is None else f" ({self.detail})"
        return f"{who}{how}{why}"


# ---- inputs: what users ask for


class Spawn(Struct, frozen=True):
    """Start an instance.

    Args:
        mailbox: the queue that it takes requests from, which identifies its agent.
        supervised: it has a policy.
        reconsiders: that policy has ``on_child_escalation`` (N6).
        parent: the agent that a new one is started under.
        release: the release that its first process comes from.
        slot: which of its agent's instances it is, from 0.
        joins: its agent runs already; if it has ended meanwhile, the instance does not start.
        service: it runs by itself and takes no requests.
    """

    key: int
    mailbox: int
    name: str
    settings: AgentSettings
    supervised: bool
    reconsiders: bool = False
    parent: int | None = None
    slot: int = 0
    joins: bool = False
    service: bool = False
    release: int = 1


class SpawnTogether(Struct, frozen=True):
    """Start several instances. All of them are there before the first can fail."""

    spawns: tuple[Spawn, ...]


class Submit(Struct, frozen=True):
    """Accept a request."""

    request: Request


class SetWidth(Struct, frozen=True):
    """At most ``width`` members of a mailbox may be busy at once; the others are warm spares."""

    mailbox: int
    width: int


class SetPaused(Struct, frozen=True):
    """Begin no more requests of an agent (they wait), or begin them again."""

    agent: int
    paused: bool


class Configure(Struct, frozen=True):
    """Give a running agent other settings."""

    agent: int
    settings: AgentSettings


class CancelRequest(Struct, frozen=True):
    """The caller cancels a request; ``waiting``: only if no worker has it."""

    request: int
    waiting: bool = False


class Cancel(Struct, frozen=True):
    """End the agent now, all of its instances; it ends CANCELLED (N14)."""

    agent: int


class Drain(Struct, frozen=True):
    """Close the agent's channel: it finishes the accepted requests, then ends COMPLETED."""

    agent: int


class Stop(Struct, frozen=True):
    """End the agent on request (STOPPED): drain for ``grace`` seconds, then force it to end."""

    agent: int
    grace: float


class Retire(Struct, frozen=True):
    """End one instance: it finishes the requests that it has and takes no more, or ends ``now``.

    Its agent goes on with the others. Without others its requests wait for the next instance.
    """

    key: int
    now: bool = False


class Restart(Struct, frozen=True):
    """Replace the process on request: not counted (N1)."""

    key: int


class Reload(Struct, frozen=True):
    """Replace the process by one of ``release`` (N19); `actions.ReloadEnded` is the answer.

    Args:
        stop_first: end the old process first; otherwise the new one becomes ready beside it.
        back: an attempt was given up, and this is the release from before: nothing is tried.
    """

    key: int
    release: int
    stop_first: bool = False
    back: bool = False


class GiveUpReload(Struct, frozen=True):
    """Go on with the old release, unless the new one has taken over."""

    key: int


class Close(Struct, frozen=True):
    """The orchestrator closes: no more restarts; drain until ``deadline`` or abort (N7, N15)."""

    drain: bool
    deadline: float


# ---- inputs: what workers, policies and the clock do


class Ready(Struct, frozen=True):
    """The worker has built its agent.

    ``gives_back``: requests that are sent ahead can be taken back (`actions.TakeBack`). ``run``: of
    a service, the request that it runs by itself.
    """

    key: int
    generation: int
    gives_back: bool = False
    run: Request | None = None


class Placing(Struct, frozen=True):
    """The process is not placed on a node of the cluster yet, and ``why``.

    ``connected``: the launcher has reached the cluster; only then the time for this begins.
    """

    key: int
    generation: int
    why: str
    connected: bool = True


class Placed(Struct, frozen=True):
    """The process was placed, and starts there."""

    key: int
    generation: int


class StartFailed(Struct, frozen=True):
    """The worker could not build its agent, and reports why; its exit follows."""

    key: int
    generation: int
    error: AgentError


class Replied(Struct, frozen=True):
    """The worker answered a request; the machine passes ``payload`` on unopened.

    ``used``: the most memory that it held during the request, in bytes; 0: not measured.
    ``wall``: seconds that the request took in the worker.
    """

    key: int
    generation: int
    request: int
    error: AgentError | None = None
    payload: Any = None
    used: int = 0
    wall: float = 0.0


class TakenBack(Struct, frozen=True):
    """The answer to `actions.TakeBack`.

    The worker has begun the first ``claimed`` requests that were sent to it, or is about to, and
    begins none of those after it up to the last one that was ``asked`` for.
    """

    key: int
    generation: int
    claimed: int
    asked: int


class NotBegun(Struct, frozen=True):
    """The worker has not begun a request that was taken back.

    ``place``: it was the n-th that was sent to the worker, which may have got it twice.
    """

    key: int
    generation: int
    request: int
    place: int


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
    """A sample showed the worker above its memory limit, at ``observed`` bytes."""

    key: int
    generation: int
    observed: int


class StreamBroken(Struct, frozen=True):
    """The worker's stream broke the protocol and cannot be read any further."""

    key: int
    generation: int
    error: AgentError


class Exited(Struct, frozen=True):
    """The process has ended. Events for everything it wrote came before this one."""

    key: int
    generation: int
    exit: Exit


class PolicyAnswered(Struct, frozen=True):
    """The policy answered, or failed with ``fault``: an exception or an invalid answer."""

    key: int
    ticket: int
    action: SupervisorAction | None
    fault: BaseException | None = None


class Reconsidered(Struct, frozen=True):
    """The policy answered `Reconsider`, about the parent of an escalating child (N6)."""

    key: int
    ticket: int
    child: str
    error: AgentError
    action: SupervisorAction | None
    fault: BaseException | None = None


class Tick(Struct, frozen=True):
    """Time has passed."""


Event: TypeAlias = (
    Spawn | SpawnTogether | Submit | SetWidth | SetPaused | Configure | CancelRequest
    | Cancel | Drain | Stop | Retire | Restart | Reload | GiveUpReload | Close | Placing
    | Placed | Ready | StartFailed | Replied | TakenBack | NotBegun | AgentFinished | Probed
    | MemoryExceeded | StreamBroken | Exited | PolicyAnswered | Reconsidered | Tick
)  # fmt: skip
