"""What the parts of the machine share: state, the current step's actions, and `enter`.

A handler of one part never calls a handler of another. It fixes what is to happen (`pending`,
`final`, `delay`) and enters a phase; the phase's entry action, in the part that owns the phase,
does the rest. So each part can be read alone, and no part imports another.
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
from procorch.supervision.instance import Instance, Pending
from procorch.supervision.ledger import Ledger
from procorch.supervision.notices import Notice
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
    CLOSE = "close"
    FLOW = "flow"


STACK_TIME = 0.5
"""Seconds for a hung process to write down its stacks; it does so from a signal handler in C."""


class Core:
    """State of one machine, and what every part may do to it.

    Args:
        entries: the entry action of each phase.
        chance: draws a number in [0, 1] for the jitter of a backoff.
        start_limit: how many processes may be starting at once (N10).
    """

    def __init__(
        self, entries: Mapping[Phase, Entry], chance: Callable[[], float], start_limit: int
    ) -> None:
        self.instances: dict[int, Instance] = {}
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
        self.later: deque[tuple[int, Any]] = deque()
        self.narrow: set[int] = set()
        self._entries = entries

    def enter(self, a: Instance, phase: Phase) -> None:
        """Move ``a`` to ``phase`` (or look again, if it is there) and do what comes with it."""
        a.phase = phase
        self._entries[phase](self, a)

    def defer(self, key: int, what: Any) -> None:
        """Have an event happen to another instance within this step.

        Events of a tree spread by this queue and not by calls, so that no depth of a tree meets the
        depth of the stack (N4).
        """
        self.later.append((key, what))

    def ask_policy(self, a: Instance, pending: Pending) -> None:
        """Put an error to the policy."""
        a.pending = pending
        self.enter(a, Phase.AWAITING_POLICY)

    def end(self, a: Instance, status: AgentStatus, error: AgentError | None = None) -> None:
        """Fix the final status and begin to leave."""
        a.final = (status, error)
        self.enter(a, Phase.STOPPING)

    def end_in_turn(self, a: Instance) -> None:
        """End ``a``, which has no process and nothing left to do, once its turn has come (N7).

        A replica does not wait for it: what comes into the common queue is for the others.
        """
        replica = len(self.ledger.boxes[a.mailbox].members) > 1
        if replica or tree.may_end(self.instances, a):
            self.end(a, a.draining or AgentStatus.COMPLETED)
        else:
            self.enter(a, Phase.HELD)

    def cut_off(self, a: Instance) -> None:
        """End ``a``, which has no process: nothing starts during a close (I2), so nobody will ever
        take what waits."""
        waiting = self.ledger.waiting(a.mailbox)
        self.end(a, AgentStatus.STOPPED, Aborted(agent=a.name) if waiting else None)

    def resolve(self, request: Request, error: AgentError | None, payload: object = None) -> bool:
        """Fix the outcome of a request; False when it was fixed before.

        An ``error`` says whether the request may have executed: by what is known of the workers
        that died of it and, where one has it now, by what that one has begun (`Resolve`).
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
        """Whether ``a`` was told to finish and has nothing left to take or to go on with."""
        if a.draining is None:
            return False
        return self.relieved(a) or not (a.process.ahead or self.ledger.waiting(a.mailbox))

    def relieved(self, a: Instance) -> bool:
        """Whether ``a`` was told to finish and others go on: what waits is for those."""
        return a.draining is not None and not self.ledger.boxes[a.mailbox].closed

    def stop_process(self, a: Instance, stage: StopStage) -> None:
        """Make the current process, or its request, end, beginning at ``stage`` (N8).

        The ladder only goes up: whoever is further along than ``stage`` stays there, and its time
        does not begin anew.
        """
        if not a.process.alive or (a.process.stage is not None and stage <= a.process.stage):
            return
        a.process.stage = stage
        self.left_starting(a)
        self.out.append(actions.StopProcess(a.key, a.generation, stage, a.process.target))
        times = a.settings.shutdown
        wait = {
            StopStage.LEAVE: times.grace,
            StopStage.COOPERATE: times.cooperate,
            StopStage.INTERRUPT: times.interrupt,
            StopStage.TERMINATE: times.terminate,
            StopStage.STACK: STACK_TIME,
            StopStage.KILL: times.kill,
        }[stage]
        self.timers.arm((Due.STOP_STAGE, a.key), self.now + wait)

    def expect_exit(self, a: Instance) -> None:
        """It leaves by itself: nobody needs to tell it, but its time runs."""
        if a.process.stage is None:
            a.process.stage = StopStage.LEAVE
            self.timers.arm((Due.STOP_STAGE, a.key), self.now + a.settings.shutdown.grace)

    def spare(self, a: Instance) -> None:
        """The request has ended before the process had to."""
        a.process.stage = None
        a.process.stopped_for_request = False
        self.timers.disarm((Due.STOP_STAGE, a.key))

    def clear_suspicion(self, a: Instance) -> None:
        """It was taken for hung, and has answered before it was killed: nothing has happened."""
        if a.process.stage is StopStage.STACK:
            a.process.reason = None
            self.spare(a)

    def left_starting(self, a: Instance) -> None:
        """The start is over, one way or the other: its slot is free."""
        self.starting.discard(a.key)
        self.timers.disarm((Due.START, a.key))

    def process_ended(self, a: Instance, exit: ev.Exit) -> None:
        """The current process has ended.

        What was ahead had begun where the reply to the one before it could not be read.
        """
        a.process.alive = False
        ahead = a.process.ahead
        while ahead and (exit.lost or any(each.id == exit.started for each in ahead)):
            a.process.inflight.append(ahead.popleft())
        a.last_exit = exit.describe()
        self.left_starting(a)
        for due in (Due.STOP_STAGE, Due.HEARTBEAT, Due.AGE):
            self.timers.disarm((due, a.key))
        a.process.held = False
        self.return_ahead(a)

    def return_ahead(self, a: Instance) -> None:
        """What was sent ahead has not begun: it waits again, before all others."""
        waiting = [request for request in a.process.ahead if request.is_open]
        a.process.ahead.clear()
        for request in reversed(waiting):
            self.put_back(request)

    def put_back(self, request: Request) -> None:
        """The request waits again, for whichever replica is free."""
        self.ledger.put_back(request)
        for member in self.ledger.boxes[request.mailbox].members:
            self.defer(member, _take_over)

    def take_inflight(self, a: Instance) -> list[Request]:
        """The open requests of the current process, which are no longer its own."""
        taken, a.process.inflight = a.process.inflight, []
        return [request for request in taken if request.is_open]

    def tell(self, a: Instance, notice: type[Notice], **fields: Any) -> None:
        """Tell whoever watches ``a`` (N18)."""
        told = notice(agent=a.name, generation=a.generation, at=self.now, **fields)
        self.out.append(actions.Notify(a.key, told))


def _take_over(core: Core, a: Instance) -> None:
    if a.phase is Phase.READY:
        core.enter(a, Phase.READY)


Entry: TypeAlias = Callable[[Core, Instance], None]
