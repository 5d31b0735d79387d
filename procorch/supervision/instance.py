"""What the machine knows about one instance of an agent."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from msgspec import Struct, field

from procorch.errors import AgentError
from procorch.supervision.process import Process
from procorch.supervision.request import Request
from procorch.supervision.restarts import RestartLimits, Window
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import AgentStatus, Phase, StopStage


class Pending(NamedTuple):
    """An error that the policy decides about.

    Args:
        request: the request that fails with it; None for the death of an idle process, a failed
            start, or a request that is tried again.
        answer: the error that the caller gets in place of ``error``.
        charged: the death is charged to the request, also when that is tried again.
    """

    request: Request | None
    error: AgentError
    payload: object = None
    answer: AgentError | None = None
    charged: bool = False


class Cycle(Struct, eq=False):
    """The restart of a group: stop all members in reverse order, then start them in order (N5).

    Args:
        members: keys in order of start, parents before children.
        blame: name of the agent whose failure began it; ``failed``: the key of that instance.
        delay: seconds of backoff before the first start.
        starting: all members have stopped, and the starts have begun.
    """

    members: list[int]
    blame: str
    failed: int
    delay: float
    starting: bool = False


class Team(Struct, eq=False):
    """One running agent: its instances, which take requests from one queue, and its children.

    Args:
        key: the number of its queue, which identifies it.
        settings: those of all its instances.
        parent: the agent it was started under, until that ends.
        members: its instances that have not ended, in order of start.
        children: the agents under it that have not ended, in order of start; ``siblings`` is its
            parent's list of children, which outlives the parent.
        window: restarts of its group (its children, or its instances if it has none), if that has
            an intensity.
        told: it was told to end. ``leaving``: it ends, and accepts neither requests, instances nor
            children.
        empty: its last instance was retired; its requests wait for the next one.
        final: its final status and error, where its last instance does not decide about them.
    """

    key: int
    name: str
    settings: AgentSettings
    parent: Team | None = None
    members: list[Instance] = field(default_factory=list)
    children: list[Team] = field(default_factory=list)
    siblings: list[Team] = field(default_factory=list)
    window: Window | None = None
    told: bool = False
    leaving: bool = False
    empty: bool = False
    final: tuple[AgentStatus, AgentError | None] | None = None

    @property
    def serving(self) -> list[Instance]:
        """Its instances that neither end nor were told to."""
        return [a for a in self.members if not a.leaving]

    @property
    def spokesman(self) -> Instance | None:
        """The instance whose policy is asked about the agent: a ready one, if there is one."""
        ready = (a for a in self.members if a.phase is Phase.READY)
        return next(ready, self.members[0] if self.members else None)


class Instance(Struct, eq=False):
    """One instance of an agent. Only the machine writes to it; others may read single attributes.

    Args:
        team: its agent.
        slot: which of its agent's instances it is, from 0. A process, or an instance, that replaces
            another one has the same.
        service: it runs by itself and takes no requests.
        cycle: the group restart it takes part in.
        process: its current process. The record of an ended process stays until the next start: the
            verdict on the end needs it.
        beside: a process beside the current one, while a release is replaced (N19): the next one,
            until it takes over, and the one before it afterwards, until it has ended.
        launched: the generation of the process that was launched last.
        release: the release that its next process comes from.
        trial: the release to go back to, if the first process of ``release`` does not start.
        attempt: the release that somebody waits for (`actions.ReloadEnded`).
        announced: it was ready at least once.
        draining: its final status, if it was told to finish: alone (it was retired), so that others
            take the requests that wait, or with its agent.
        grace: seconds of draining, which begin when its turn to end has come (N7).
        aborted: requests of it were aborted.
        pending: the error that the policy is asked about; ``ticket`` numbers these questions.
        errors: further errors, of requests that ran at the same time: the policy is asked about
            each in turn (`several`).
        reconsideration: number of the last question about an escalating child (N6).
        delay: seconds of backoff before the next start.
        final: its final status and error, fixed when the stopping begins.
        last_exit: how its previous process ended, as text.
    """

    key: int
    mailbox: int
    name: str
    settings: AgentSettings
    team: Team
    supervised: bool
    limits: RestartLimits
    reconsiders: bool = False
    slot: int = 0
    service: bool = False
    cycle: Cycle | None = None
    phase: Phase = Phase.WAITING
    status: AgentStatus = AgentStatus.RUNNING
    process: Process = field(default_factory=Process)
    beside: Process | None = None
    launched: int = 0
    release: int = 1
    trial: int | None = None
    attempt: int | None = None
    announced: bool = False
    draining: AgentStatus | None = None
    grace: float | None = None
    aborted: bool = False
    pending: Pending | None = None
    errors: deque[Pending] = field(default_factory=deque)
    ticket: int = 0
    reconsideration: int = 0
    delay: float = 0.0
    final: tuple[AgentStatus, AgentError | None] | None = None
    last_exit: str | None = None

    @property
    def leaving(self) -> bool:
        """Whether it has ended, is ending or was told to end."""
        return self.draining is not None or self.phase in (Phase.STOPPING, Phase.DONE)

    @property
    def generation(self) -> int:
        """Number of its current process, from 1; 0: none was launched yet."""
        return self.process.generation

    @property
    def successor(self) -> Process | None:
        """The process that is to take over from the current one, unless it is being ended."""
        other = self.beside
        return other if other is not None and other.waits and other.stage is None else None

    @property
    def is_gone(self) -> bool:
        """Whether none of its processes is left, or only what outlived SIGKILL."""
        gone = not self.process.alive or self.process.stage is StopStage.GIVE_UP
        return gone and self.beside is None

    @property
    def credit(self) -> int:
        """How many more requests its process may be given."""
        process = self.process
        if not process.sends_ahead:
            most = process.concurrency
        elif self.settings.prefetch != "auto":
            most = self.settings.prefetch
        else:
            most = process.allowance.amount if process.gives_back else 1
        if self.settings.max_requests is not None:
            most = min(most, process.limit(self.settings.max_requests) - process.served)
        return max(1, most) - len(process.inflight) - len(process.ahead)

    @property
    def state(self) -> str:
        """Its state as users see it."""
        if self.phase is Phase.READY:
            if self.process.hung:
                return "HUNG"
            if self.draining is not None:
                return "DRAINING"
            if self.service:
                return "RUNNING"
            return "BUSY" if self.process.inflight else "READY"
        if self.phase is Phase.STARTING and self.process.placing is not None:
            return "WAITING"
        return _STATES[self.phase]


_STATES = {
    Phase.WAITING: "STARTING",
    Phase.STARTING: "STARTING",
    Phase.AWAITING_POLICY: "BUSY",
    Phase.RETIRING: "STOPPING",
    Phase.HELD: "BACKOFF",
    Phase.BACKOFF: "BACKOFF",
    Phase.STOPPING: "STOPPING",
    Phase.DONE: "STOPPING",
}
