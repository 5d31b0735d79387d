"""What the machine knows about one instance of an agent."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from procorch.errors import AgentError, AgentHung
from procorch.supervision.restarts import RestartLimits, Window
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import AgentStatus, Phase, Rung


class Pending(NamedTuple):
    """An error to be judged.

    Args:
        request: who waits for it; None for an idle death, a failed start, a retried request.
        answer: what the caller gets in place of ``error``.
        charged: it is the request's fault, whatever became of the request.
    """

    request: int | None
    error: AgentError
    payload: object = None
    answer: AgentError | None = None
    charged: bool = False


@dataclass(slots=True, eq=False)
class Cycle:
    """A group on its way through a restart: all go down in reverse order, then up in order (N5).

    Args:
        members: keys in order of start, parents before children.
        blame: name of the agent whose failure began it.
        delay: seconds of backoff between down and up.
        rising: everybody is down; the starts have begun.
    """

    members: list[int]
    blame: str
    delay: float
    rising: bool = False


@dataclass(slots=True, eq=False)
class Instance:
    """One running agent. Only the machine writes to it; others may read single attributes.

    Args:
        inflight: the request that the current process works on, if there is one.
        ahead: requests written to it that it will go on with, in that order (``prefetch``); some
            may have been resolved.
        held: it answered with an error and waits for our word before it goes on with those.
        alive: a process of ``generation`` was launched and has not been seen to end.
        reason: why we ended the current process (memory limit, broken stream, failed start); it
            is the error of what was in flight, in place of the bare exit.
        excused: the current process was ended for the sake of one request (its deadline, its
            cancellation), so its exit is *requested* (N0) and its successor is not counted (N1).
        pending: the error that lies with the policy.
        delay: seconds of backoff before the next start.
        parent: the instance it was started under, ``children`` those under it, in order of start;
            ``siblings`` is its parent's list of children, which outlives the parent.
        window: restarts of the group it heads, where that has an intensity.
        cycle: the group restart it takes part in.
        heartbeat: the last progress count seen and when it was new.
        appeal: number of the last question whether it should pay for an escalating child (N6).
        final: how it ends, fixed when the stopping begins.
        rung: the last rung of the ladder taken against the current process; ``target`` the request
            that the first rungs aim at.
        leaving: the agent has said that it is finished; its normal exit follows (N0).
        finished: it said so without having been told to end.
        renew: it is to get a new process as soon as it is idle.
        grace: seconds of draining that begin when its turn to end has come (N7).
        aborted: requests of it were aborted.
        served: requests the current process has answered.
        aged: the current process is older than it should get.
        thrift: the part of its limits by which the current process is replaced early, so that
            replicas which began together do not go together.
        last_exit: how its previous process ended, in words.
    """

    key: int
    mailbox: int
    name: str
    settings: AgentSettings
    supervised: bool
    limits: RestartLimits
    appeals: bool = False
    parent: int | None = None
    children: list[int] = field(default_factory=list)
    siblings: list[int] = field(default_factory=list)
    window: Window | None = None
    cycle: Cycle | None = None
    heartbeat: tuple[int, float] | None = None
    appeal: int = 0
    phase: Phase = Phase.WAITING
    status: AgentStatus = AgentStatus.RUNNING
    generation: int = 0
    alive: bool = False
    announced: bool = False
    ready_at: float | None = None
    inflight: list[int] = field(default_factory=list)
    ahead: deque[int] = field(default_factory=deque)
    held: bool = False
    draining: AgentStatus | None = None
    reason: AgentError | None = None
    excused: bool = False
    ticket: int = 0
    pending: Pending | None = None
    delay: float = 0.0
    leaving: bool = False
    finished: bool = False
    renew: bool = False
    grace: float | None = None
    aborted: bool = False
    served: int = 0
    aged: bool = False
    thrift: float = 0.0
    last_exit: str | None = None
    final: tuple[AgentStatus, AgentError | None] | None = None
    rung: Rung | None = None
    target: int = 0

    @property
    def credit(self) -> int:
        """How many more requests its process may be given."""
        most = self.settings.prefetch
        if self.settings.max_requests is not None:
            most = min(most, self.most(self.settings.max_requests) - self.served)
        return max(1, most) - len(self.inflight) - len(self.ahead)

    def sent_since(self, request: int) -> tuple[int, ...]:
        """``request`` and what its process was given after it; nothing if it has not got it."""
        given = (*self.inflight, *self.ahead)
        return given[given.index(request) :] if request in given else ()

    def most(self, limit: int) -> int:
        """A limit after which the process is replaced, for the current one."""
        return limit - int(limit * self.thrift)

    @property
    def state(self) -> str:
        """Where it is, in the words that users see."""
        if self.phase is Phase.READY:
            if isinstance(self.reason, AgentHung):
                return "HUNG"
            if self.draining is not None:
                return "DRAINING"
            return "BUSY" if self.inflight else "READY"
        return _STATES[self.phase]


_STATES = {
    Phase.WAITING: "STARTING",
    Phase.STARTING: "STARTING",
    Phase.JUDGING: "BUSY",
    Phase.RETIRING: "STOPPING",
    Phase.HELD: "BACKOFF",
    Phase.BACKOFF: "BACKOFF",
    Phase.STOPPING: "STOPPING",
    Phase.DONE: "STOPPING",
}
