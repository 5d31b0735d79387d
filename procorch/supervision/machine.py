"""The only owner of lifecycle state: events in, actions out.

`Machine.step(event, now)` changes the state of the instances concerned and returns the actions to
perform, in order. It uses no process, socket or clock, so a test runs a year of crashes and
restarts in a second.

One table has all that may happen to an instance: `TRANSITIONS` maps (phase, event) to the handler
and the phases that it may enter. `ONWARD` has the transitions without a further event, `TREE` those
that other instances cause. An event that is not in the table has no effect in that phase, such as a
timer that lost a race or a second cancel (`diagram.IGNORED` has the reason for each). Two rules
apply to all events:

* an event that names a generation counts only while that is the current one (I1, I2);
* the outcome of a request is fixed once, and the first one wins (`ledger`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from procorch.supervision import (
    actions,
    beside,
    configuring,
    dispatch,
    ending,
    failing,
    holding,
    reloading,
    replacing,
    requests,
    several,
    starting,
    take_back,
    teams,
)
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due, Entry
from procorch.supervision.instance import Instance, Team
from procorch.supervision.request import Request
from procorch.supervision.states import Phase
from procorch.supervision.throttle import FlowControl
from procorch.supervision.timers import Timers
from procorch.supervision.ways import ONWARD as ONWARD
from procorch.supervision.ways import TREE as TREE


class Rule(NamedTuple):
    """The handler of an event in a phase, and the phases that it may enter first."""

    handler: Callable[[Core, Instance, Any], None]
    enters: frozenset[Phase]

    @property
    def leads_to(self) -> frozenset[Phase]:
        """The phases in which the instance may be at the end of the step."""
        reached: set[Phase] = set()
        ahead = list(self.enters)
        while ahead:
            phase = ahead.pop()
            if phase not in reached:
                reached.add(phase)
                ahead += ONWARD[phase]
        return frozenset(reached)


def _rule(handler: Callable[[Core, Instance, Any], None], *enters: Phase) -> Rule:
    return Rule(handler, frozenset(enters))


WAITING, STARTING, READY, AWAITING_POLICY, RETIRING, HELD, BACKOFF, STOPPING, DONE = Phase

ENTRIES: dict[Phase, Entry] = {
    WAITING: starting.wait_for_slot,
    STARTING: starting.launch,
    READY: dispatch.advance,
    AWAITING_POLICY: failing.ask,
    RETIRING: replacing.retire,
    HELD: replacing.hold,
    BACKOFF: replacing.back_off,
    STOPPING: ending.leave,
    DONE: ending.finish,
}

_WHEN_TOLD_TO_END: dict[Phase, tuple[Phase, ...]] = {
    WAITING: (HELD, STOPPING),
    STARTING: (STOPPING,),
    READY: (READY,),
    AWAITING_POLICY: (),
    RETIRING: (),
    HELD: (HELD, STOPPING),
    BACKOFF: (HELD, STOPPING),
}

TRANSITIONS: dict[tuple[Phase, type | Due], Rule] = {
    (STARTING, ev.Placing): _rule(starting.placing),
    (STARTING, ev.Placed): _rule(starting.placed),
    (STARTING, ev.Ready): _rule(starting.ready, READY),
    (STARTING, ev.StartFailed): _rule(starting.failed),
    (STARTING, ev.Exited): _rule(starting.exited, AWAITING_POLICY, RETIRING, HELD, STOPPING),
    (STARTING, Due.START): _rule(starting.overdue),
    **{
        (phase, ev.TakenBack): _rule(take_back.taken)
        for phase in (READY, AWAITING_POLICY, RETIRING)
    },
    **{
        (phase, what): _rule(handler)
        for phase in (READY, AWAITING_POLICY)
        for what, handler in (
            (ev.AgentFinished, failing.agent_finished),
            (ev.Probed, failing.probed),
            (Due.HEARTBEAT, failing.heartbeat_due),
            (Due.TASK, several.task_due),
        )
    },
    (READY, ev.NotBegun): _rule(take_back.not_begun, READY),
    (RETIRING, ev.NotBegun): _rule(take_back.not_begun_in_leaving),
    (STOPPING, ev.NotBegun): _rule(take_back.not_begun_in_leaving),
    (READY, Due.AGE): _rule(requests.aged),
    (AWAITING_POLICY, Due.AGE): _rule(requests.aged),
    (READY, ev.Reconsidered): _rule(failing.reconsidered, READY, RETIRING, STOPPING),
    (READY, ev.Restart): _rule(replacing.restart, READY, RETIRING),
    (AWAITING_POLICY, ev.Restart): _rule(replacing.restart_while_awaiting_policy),
    (BACKOFF, ev.Restart): _rule(replacing.restart, RETIRING, HELD),
    (READY, ev.Replied): _rule(requests.replied, READY, AWAITING_POLICY),
    (AWAITING_POLICY, ev.Replied): _rule(requests.replied),
    (READY, ev.Exited): _rule(failing.exited, AWAITING_POLICY, RETIRING, HELD, STOPPING),
    (AWAITING_POLICY, ev.PolicyAnswered): _rule(
        failing.policy_answered, READY, AWAITING_POLICY, RETIRING, HELD, STOPPING
    ),
    (AWAITING_POLICY, ev.Exited): _rule(failing.exited_while_awaiting_policy),
    (RETIRING, ev.AgentFinished): _rule(replacing.finished_while_retiring),
    (RETIRING, ev.Exited): _rule(replacing.retired, RETIRING),
    (RETIRING, ev.Replied): _rule(requests.replied_in_leaving),
    (STOPPING, ev.Replied): _rule(requests.replied_in_leaving),
    (BACKOFF, Due.BACKOFF): _rule(replacing.backoff_over, WAITING),
    **{(phase, ev.Reload): _rule(reloading.begin) for phase in Phase},
    (READY, ev.GiveUpReload): _rule(reloading.give_up, READY),
    (READY, Due.BESIDE): _rule(beside.due, READY),
    (STOPPING, Due.BESIDE): _rule(beside.due, DONE),
    **{
        (phase, what): _rule(handler)
        for phase in (WAITING, STARTING, AWAITING_POLICY, RETIRING, HELD, BACKOFF)
        for what, handler in ((ev.GiveUpReload, reloading.give_up), (Due.BESIDE, beside.due))
    },
    (STOPPING, ev.Cancel): _rule(ending.hasten),
    (STOPPING, ev.Exited): _rule(ending.exited, DONE),
    (STOPPING, Due.STOP_STAGE): _rule(ending.next_stage, DONE),
    (DONE, ev.Exited): _rule(ending.exited_late),
    **{
        (phase, Due.STOP_STAGE): _rule(ending.next_stage, STOPPING)
        for phase in (STARTING, READY, AWAITING_POLICY, RETIRING)
    },
    **{
        (phase, event): _rule(handler)
        for phase in (STARTING, READY, AWAITING_POLICY)
        for event, handler in (
            (ev.MemoryExceeded, failing.memory_exceeded),
            (ev.StreamBroken, failing.stream_broken),
        )
    },
    **{
        (phase, event): _rule(handler, *enters)
        for phase in (WAITING, STARTING, READY, AWAITING_POLICY, RETIRING, HELD, BACKOFF)
        for event, handler, enters in (
            (ev.Cancel, ending.cancel, (STOPPING,)),
            (ev.Drain, ending.drain, _WHEN_TOLD_TO_END[phase]),
            (ev.Stop, ending.stop, _WHEN_TOLD_TO_END[phase]),
            (ev.Retire, ending.retire, (*_WHEN_TOLD_TO_END[phase], STOPPING)),
            (Due.GRACE, ending.out_of_grace, (STOPPING,)),
        )
    },
}


class Machine:
    """All instances of one orchestrator.

    Args:
        chance: draws a number in [0, 1] for the jitter of a backoff.
        start_limit: how many processes may be starting at once (N10).

    Attributes:
        timers: the times at which ticks are due; only for reading.
        instances: those that have not ended, by key; only for reading.
    """

    def __init__(self, *, chance: Callable[[], float], start_limit: int) -> None:
        self._core = Core(ENTRIES, chance, start_limit)
        self.timers: Timers[tuple[Due, int]] = self._core.timers
        self.instances: Mapping[int, Instance] = self._core.instances

    def step(self, event: ev.Event, now: float) -> list[actions.Action]:
        """Handle one event at ``now`` (seconds on any monotonic clock); returns its actions."""
        core = self._core
        core.now = now
        out: list[actions.Action] = []
        core.out = out
        match event:
            case ev.Submit():
                dispatch.submit(core, event)
            case ev.Replied() | ev.Ready() | ev.Exited() | ev.StartFailed():
                self._of_generation(event)
            case ev.Tick():
                self._tick()
            case ev.SetWidth():
                dispatch.set_width(core, event)
            case ev.SetPaused(agent, paused):
                holding.set_paused(core, agent, paused=paused)
            case ev.Configure():
                configuring.configure(core, event)
            case ev.CancelRequest():
                requests.cancel(core, event)
            case ev.Spawn():
                starting.spawn(core, (event,))
            case ev.SpawnTogether(spawns):
                starting.spawn(core, spawns)
            case ev.Cancel() | ev.Drain() | ev.Stop():
                addressed = core.teams.get(event.agent)
                if addressed is not None:
                    teams.told(core, addressed, event)
            case ev.Close():
                ending.close(core, event)
            case ev.TakenBack() | ev.NotBegun() | ev.Placing() | ev.Placed():
                self._of_generation(event)
            case ev.MemoryExceeded() | ev.StreamBroken() | ev.Probed() | ev.AgentFinished():
                self._of_generation(event)
            case _:
                a = core.instances.get(event.key)
                if a is not None:
                    self._handle(a, event)
        self._end_step()
        return out

    def give(self, request: Request, now: float) -> Instance | None:
        """The short path of `Submit`: an idle instance has the request, which is to be written to
        its process. None: nothing has changed, and the event has to be stepped."""
        core = self._core
        if core.limited_mailboxes:
            return None
        core.now = now
        return dispatch.give(core, request)

    def succeed(
        self, key: int, generation: int, number: int, wall: float, now: float
    ) -> Sequence[actions.Action] | None:
        """The short path of `Replied` for a success: the outcome of the request is fixed, and the
        actions follow it. None: nothing has changed, and the event has to be stepped."""
        core = self._core
        a = core.instances.get(key)
        if a is None or a.process.generation != generation or core.limited_mailboxes:
            return None
        core.now = now
        out: list[actions.Action] = []
        core.out = out
        if not requests.succeed(core, a, number, wall):
            return None
        if core.deferred:
            self._end_step()
        return out

    def _end_step(self) -> None:
        """Do what the step means for other instances."""
        core = self._core
        while core.deferred:
            self._handle_deferred()
        if core.limited_mailboxes:
            dispatch.fill(core)
            while core.deferred:
                self._handle_deferred()
        if core.start_queue:
            starting.fill_slots(core)

    def next_due(self) -> float | None:
        """The time at which the next `Tick` is due; None: no timer is armed."""
        return self._core.timers.next()

    @property
    def idle(self) -> bool:
        """Whether every agent has ended (N7)."""
        return not self._core.teams

    @property
    def stale(self) -> int:
        """How many events of old generations, and late replies, were dropped so far."""
        return self._core.stale

    def waiting(self, mailbox: int) -> int:
        """How many requests wait in a mailbox; for any thread."""
        box = self._core.ledger.boxes.get(mailbox)
        return 0 if box is None else box.waiting

    def is_paused(self, mailbox: int) -> bool:
        """Whether no more requests of a mailbox are begun (`events.SetPaused`); for any thread."""
        box = self._core.ledger.boxes.get(mailbox)
        return box is not None and box.paused

    def flow(self, mailbox: int) -> FlowControl | None:
        """The flow control of a mailbox, only for reading; None: it has none."""
        box = self._core.ledger.boxes.get(mailbox)
        return None if box is None else box.flow

    def _handle_deferred(self) -> None:
        """Handle one deferred event, or call one deferred function, for another instance."""
        to, what = self._core.deferred.popleft()
        addressed = to if isinstance(to, Team) else self._core.instances.get(to)
        if addressed is None:
            return
        if callable(what):
            what(self._core, addressed)
        elif isinstance(addressed, Team):
            teams.told(self._core, addressed, what)
        else:
            self._handle(addressed, what)

    def _of_generation(self, event: Any) -> None:
        a = self._core.instances.get(event.key)
        if a is None:
            return
        if event.generation != a.process.generation:
            if a.beside is not None and event.generation == a.beside.generation:
                reloading.heard(self._core, a, event)
            else:
                self._core.stale += 1
            return
        self._handle(a, event)

    def _tick(self) -> None:
        core = self._core
        while (due := core.timers.take_due(core.now)) is not None:
            kind, key = due
            if kind is Due.REQUEST:
                requests.overdue(core, key)
            elif kind is Due.CLOSE:
                ending.close_overdue(core)
            elif kind is Due.FLOW:
                pass  # `dispatch.fill` runs at the end of the step
            elif kind is Due.TAKE_BACK:
                take_back.due(core, key)
            else:  # The timers of an instance are disarmed before it is removed.
                self._handle(core.instances[key], kind)

    def _handle(self, a: Instance, what: Any) -> None:
        rule = TRANSITIONS.get((a.phase, what if isinstance(what, Due) else type(what)))
        if rule is not None:
            rule.handler(self._core, a, what)
