"""What the parts of the machine share: state, the current step's actions, and `enter`.

A handler of one part never calls a handler of another part. It sets what is to happen (`pending`,
`final`, `delay`) and enters a phase. The entry action of that phase, in the part that owns it, does
the rest. So a reader can read each part alone, and no part imports another.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from procorch.errors import Aborted, AgentError
from procorch.supervision import actions, tree
from procorch.supervision import events as ev
from procorch.supervision.instance import Instance, Pending, Team
from procorch.supervision.ledger import Ledger
from procorch.supervision.notices import AgentEvent
from procorch.supervision.request import Request
from procorch.supervision.states import AgentStatus, Phase, StopStage
from procorch.supervision.timers import Timers


class Due(Enum):
    """What a timer is for."""

    if not TYPE_CHECKING:  # type checkers would take it for an override of another type
        __hash__ = object.__hash__  # Enum's own is a function of Python, and slow

    START = "start"
    STOP_STAGE = "ladder"
    BACKOFF = "backoff"
    GRACE = "grace"
    REQUEST = "request"
    HEARTBEAT = "heartbeat"
    AGE = "age"
    BESIDE = "process beside"
    CLOSE = "close"
    FLOW = "flow"
    TAKE_BACK = "take back"
    TASK = "cancelled task"


STACK_TIME = 0.5
"""Seconds for a hung process to write down its stacks; it does so from a signal handler in C."""


class Core:
    """State of one machine, and the operations that all parts share.

    Args:
        entries: the entry action of each phase.
        chance: draws a number in [0, 1] for the jitter of a backoff.
        start_limit: how many processes may be starting at once (N10).
    """

    def __init__(
        self, entries: Mapping[Phase, Entry], chance: Callable[[], float], start_limit: int
    ) -> None:
        self.instances: dict[int, Instance] = {}
        self.teams: dict[int, Team] = {}
        self.ledger: Ledger = Ledger()
        self.timers: Timers[tuple[Due, int]] = Timers()
        self.starting: set[int] = set()
        self.start_queue: deque[int] = deque()
        self.chance = chance
        self.start_limit = start_limit
        self.closing = False
        self.deadline: float = math.inf
        self.now: float = 0.0
        self.out: list[actions.Action] = []
        self.stale = 0
        self.deferred: deque[tuple[int | Team, Any]] = deque()
        self.limited_mailboxes: set[int] = set()
        self._entries = entries

    def enter(self, a: Instance, phase: Phase) -> None:
        """Move ``a`` to ``phase`` and run its entry action, also where ``a`` is there already."""
        a.phase = phase
        self._entries[phase](self, a)

    def defer(self, to: int | Team, what: Any) -> None:
        """Handle ``what``, an event or a function, for another instance or agent within this step.

        Events spread over a tree by this queue and not by calls: a deep tree would overflow
        Python's stack (N4).
        """
        self.deferred.append((to, what))

    def ask_policy(self, a: Instance, pending: Pending) -> None:
        """Ask the policy about an error."""
        a.pending = pending
        self.enter(a, Phase.AWAITING_POLICY)

    def end(self, a: Instance, status: AgentStatus, error: AgentError | None = None) -> None:
        """Fix the final status and begin to stop."""
        a.final = (status, error)
        self.enter(a, Phase.STOPPING)

    def end_in_turn(self, a: Instance) -> None:
        """End ``a``, which has no process and nothing left to do, when its turn comes (N7)."""
        if tree.may_end(a):
            self.end(a, a.draining or AgentStatus.COMPLETED)
        else:
            self.enter(a, Phase.HELD)

    def end_during_close(self, a: Instance) -> None:
        """End ``a``, which has no process. No process starts during a close (I2), so no worker
        would ever take the requests that wait."""
        waiting = self.ledger.waiting(a.mailbox)
        self.end(a, AgentStatus.STOPPED, Aborted(agent=a.name) if waiting else None)

    def resolve(self, request: Request, error: AgentError | None, payload: object = None) -> bool:
        """Fix the outcome of a request; False when it was fixed before.

        An ``error`` says whether the request may have executed. The answer comes from the workers
        that died of it and, if a worker has it now, from what that worker has begun (`Resolve`).
        """
        self.timers.disarm((Due.REQUEST, request.id))
        sent: tuple[int, ...] = ()
        if error is not None and request.is_open:
            a = None if request.worker is None else self.instances.get(request.worker)
            if payload is None and a is not None and a.process.alive:
                sent = a.process.sent_since(request)
            if request.executed:
                error.may_have_executed = True
        return self.ledger.resolve(request, self.out, error, payload, sent)

    def drained(self, a: Instance) -> bool:
        """Whether ``a`` was told to finish, and no request is left for it."""
        if a.draining is None:
            return False
        return self.others_take_over(a) or not (a.process.ahead or self.ledger.waiting(a.mailbox))

    def others_take_over(self, a: Instance) -> bool:
        """Whether ``a`` was told to finish and other instances take the requests that wait."""
        return a.draining is not None and not a.team.leaving

    def stop_process(self, a: Instance, stage: StopStage) -> None:
        """Make the current process, or its request, end, beginning at ``stage`` (N8).

        A process that has reached ``stage`` or a later one stays there, and its time goes on.
        """
        if not a.process.alive or (a.process.stage is not None and stage <= a.process.stage):
            return
        a.process.stage = stage
        self.left_starting(a)
        self.out.append(actions.StopProcess(a.key, a.generation, stage, a.process.target))
        self.timers.arm((Due.STOP_STAGE, a.key), self.now + time_of(a, stage))

    def expect_exit(self, a: Instance) -> None:
        """The process is about to exit by itself: only its time limit starts. One that runs several
        requests at once waits to be told so: a further one may be on its way to it."""
        if a.process.concurrency > 1:
            self.stop_process(a, StopStage.LEAVE)
        elif a.process.stage is None:
            a.process.stage = StopStage.LEAVE
            self.timers.arm((Due.STOP_STAGE, a.key), self.now + a.settings.shutdown.grace)

    def de_escalate(self, a: Instance) -> None:
        """The request has ended in time, so the process lives on."""
        a.process.stage = None
        a.process.stopped_for_request = False
        self.timers.disarm((Due.STOP_STAGE, a.key))

    def clear_hang_suspicion(self, a: Instance) -> None:
        """The process answered after it was suspected to hang and before it was killed."""
        if a.process.stage is StopStage.STACK:
            a.process.reason = None
            self.de_escalate(a)

    def left_starting(self, a: Instance) -> None:
        """The start has succeeded or failed: free its slot."""
        self.starting.discard(a.key)
        self.timers.disarm((Due.START, a.key))

    def process_ended(self, a: Instance, exit: ev.Exit) -> None:
        """The current process has ended.

        A request that was ahead may have begun: the reply to the one before it was unreadable then.
        """
        a.process.alive = False
        ahead = a.process.ahead
        while ahead and (exit.lost or any(each.id == exit.started for each in ahead)):
            a.process.inflight.append(ahead.popleft())
        a.last_exit = exit.describe()
        self.left_starting(a)
        for due in (Due.STOP_STAGE, Due.HEARTBEAT, Due.AGE, Due.TASK):
            self.timers.disarm((due, a.key))
        a.process.cancelled.clear()
        a.process.held = False
        self.return_ahead(a)

    def return_ahead(self, a: Instance) -> None:
        """Requests that were sent ahead have not begun: put them first in their queue again."""
        waiting = [request for request in a.process.ahead if request.is_open]
        a.process.ahead.clear()
        for request in reversed(waiting):
            self.put_back(request)

    def put_back(self, request: Request) -> None:
        """Queue a request again, for the first free instance."""
        self.ledger.put_back(request)
        self.look_again(request.mailbox)

    def look_again(self, mailbox: int) -> None:
        """Have all instances behind a queue look whether they take what waits there."""
        for member in self.ledger.boxes[mailbox].members:
            self.defer(member, _take_over)

    def take_inflight(self, a: Instance) -> list[Request]:
        """Take the open requests away from the current process."""
        taken, a.process.inflight = a.process.inflight, []
        return [request for request in taken if request.is_open]

    def tell(
        self, a: Instance, notice: Callable[..., AgentEvent], *,
        generation: int | None = None, **fields: Any,
    ) -> None:  # fmt: skip
        """Publish a notice about ``a`` (N18); ``generation``: None: that of its current process."""
        which = a.generation if generation is None else generation
        told = notice(agent=a.name, instance=a.slot, generation=which, at=self.now, **fields)
        self.out.append(actions.Notify(a.key, told))


def time_of(a: Instance, stage: StopStage) -> float:
    """Seconds that a process gets at ``stage`` before the next one."""
    times = a.settings.shutdown
    return {
        StopStage.LEAVE: times.grace,
        StopStage.COOPERATE: times.cooperate,
        StopStage.INTERRUPT: times.interrupt,
        StopStage.TERMINATE: times.terminate,
        StopStage.STACK: STACK_TIME,
        StopStage.KILL: times.kill,
    }[stage]


def _take_over(core: Core, a: Instance) -> None:
    if a.phase is Phase.READY:
        core.enter(a, Phase.READY)
    elif a.phase is Phase.HELD and a.cycle is None and not (core.closing or core.drained(a)):
        # It was told to end and had nothing left to do. Now it has: the others may all end first.
        core.enter(a, Phase.WAITING)


Entry: TypeAlias = Callable[[Core, Instance], None]
