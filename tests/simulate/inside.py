"""What must hold inside the machine after every step: nothing is lost, nobody waits for nothing.

The rules of `books` say what may not happen. These say that what must happen still can: whoever
waits has somebody, or a timer, to wake him.
"""

from __future__ import annotations

from typing import NamedTuple

from procorch.supervision import actions, tree
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance, Team
from procorch.supervision.process import Course
from procorch.supervision.request import RequestState
from procorch.supervision.states import AgentStatus, Phase, StopStage

_GONE = (Phase.STOPPING, Phase.DONE)
_WITHOUT_PROCESS = (Phase.WAITING, Phase.HELD, Phase.BACKOFF)


def look(core: Core, asked: set[tuple[int, int]]) -> None:
    """Check everything.

    Args:
        asked: key and ticket of the questions that lie with the policy.

    Raises:
        AssertionError: something is lost or stuck; the text says what.
    """
    assert not core.deferred, "a step ended before all of it had happened"
    assert len(core.starting) <= core.start_limit, "N10: too many starts at once"
    placed: set[int] = set()  # numbers
    for a in core.instances.values():
        _one(core, a, asked)
        placed.update(request.id for request in (*a.process.inflight, *a.process.ahead))
        for pending in (a.pending, *a.errors):
            if pending is not None and pending.request is not None:
                placed.add(pending.request.id)
    for team in core.teams.values():
        _whole(core, team)
    for mailbox, box in core.ledger.boxes.items():
        empty = mailbox in core.teams and core.teams[mailbox].empty
        assert box.members or empty, "a mailbox without anybody to take from it"
        queued = [request for lane in box.lanes.values() for request in lane if request.is_open]
        assert box.waiting == len(queued), "the number of those that wait is wrong"
        assert all(request.state is RequestState.QUEUED for request in queued)
        placed.update(request.id for request in queued)
    for number in core.ledger.requests:
        assert number in placed, f"I1: request {number} is lost"


def _whole(core: Core, team: Team) -> None:
    box = core.ledger.boxes.get(team.key)
    where = f"agent {team.name}"
    assert all(core.instances[a.key] is a for a in team.members), where
    stays = [a for a in team.members if a.phase not in _GONE]
    assert team.leaving or team.empty or stays, f"{where}: goes on, and nobody serves"
    if box is not None:
        assert box.closed == team.leaving, f"{where}: its queue knows better"
        assert {*box.members} == {a.key for a in stays}, where
    else:
        assert team.leaving, f"{where}: goes on without a queue"
        waits = not team.members and not tree.in_turn(team, stopped=True)
        assert team.members or waits, f"{where}: has ended, and stays"
    for child in team.children:
        assert child.parent is team, where
        assert core.teams[child.key] is child, f"{where}: a child that has ended"


def before(core: Core) -> Before:
    """What has to be remembered of the state before a step."""
    phases = {key: a.phase for key, a in core.instances.items()}
    return Before(
        phases,
        {key: Family(team, team.parent, [*team.children]) for key, team in core.teams.items()},
    )


class Family(NamedTuple):
    """One agent before a step."""

    team: Team
    parent: Team | None
    children: list[Team]


class Before(NamedTuple):
    """The instances and agents before a step."""

    phases: dict[int, Phase]
    families: dict[int, Family]


def compare(core: Core, earlier: Before, taken: list[actions.Action]) -> None:
    """Check what a step means for the tree: order of ends, links, auto-shutdown.

    Raises:
        AssertionError: it means something else.
    """
    for a in core.instances.values():
        was = earlier.phases.get(a.key)
        if was is not None and was not in _GONE and a.phase is Phase.STOPPING:
            _in_its_turn(core, a)
    for action in taken:
        if isinstance(action, actions.Send) and action.key in core.instances:
            a = core.instances[action.key]
            _within_width(core, a)
            retired = a.draining is not None and not a.team.leaving
            assert not retired, f"{a.name}: sent to an instance that was retired"
    ended = [action.agent for action in taken if isinstance(action, actions.AgentEnded)]
    for key in ended:
        if key in earlier.families:
            _consequences(core, earlier.families[key], alone=len(ended) == 1)


def _within_width(core: Core, a: Instance) -> None:
    box = core.ledger.boxes.get(a.mailbox)
    if box is None or box.width is None or len(box.members) <= box.width:
        return
    busy = [key for key in box.members if core.instances[key].process.inflight]
    within = a.key in busy[: box.width] if len(a.process.inflight) > 1 else len(busy) <= box.width
    assert within, f"{a.name}: more busy at once than the width of its mailbox"


def _in_its_turn(core: Core, a: Instance) -> None:
    assert a.final is not None
    if core.closing and not a.process.alive:
        return  # it does nothing any more, and no process starts during a close (I2)
    if a.final[1] is None and a.draining is not None and a.team.leaving:
        for child in a.team.children:
            alive = any(member.process.alive for member in child.members)
            assert not (child.leaving and alive), f"N7: {a.name} before {child.name}"


def _consequences(core: Core, was: Family, *, alone: bool) -> None:
    team, parent = was.team, was.parent
    assert team.final is not None
    for child in was.children:
        if child.key in core.teams and tree.linked(team, child):
            assert child.leaving, f"N4: {child.name} outlives {team.name}"
            in_turn = team.told and team.final == (AgentStatus.STOPPED, None)
            done = core.closing or not any(a.process.alive for a in child.members)
            assert done or not in_turn, f"N7: {team.name} ended before {child.name}"
    if parent is None or parent.key not in core.teams:
        return
    if team.told or core.closing or not team.settings.significant:
        return
    if team.final[0] in (AgentStatus.COMPLETED, AgentStatus.FAILED):
        others = any(child.settings.significant for child in parent.children)
        last = alone and not others  # else the last one may have been stopped with its group
        auto = parent.settings.auto_shutdown
        if auto == "any_significant" or (auto == "all_significant" and last):
            assert parent.leaving, f"N5: {parent.name} goes on without {team.name}"


def _one(core: Core, a: Instance, asked: set[tuple[int, int]]) -> None:
    where = f"{a.name} in {a.phase.name}"
    process = a.process
    box = core.ledger.boxes.get(a.mailbox)
    assert (box is not None and a.key in box.members) == (a.phase not in _GONE), where
    if process.stage is not None and process.alive and process.stage is not StopStage.GIVE_UP:
        assert _armed(core, Due.STOP_STAGE, a), f"{where}: nothing follows {process.stage.name}"
    assert (a.key in core.starting) == (a.phase is Phase.STARTING and process.stage is None), where
    if (other := a.beside) is not None:
        expected = other.stage is not None or other.ready_at is None
        assert _armed(core, Due.BESIDE, a) == expected, f"{where}: the timer of its other process"
        idle = a.phase is Phase.READY and not (process.inflight or a.cycle)
        idle = idle and process.stage is None and not process.course.leaves
        assert not (idle and a.successor and a.successor.ready_at is not None), (
            f"{where}: its successor waits for nothing"
        )
    if a.phase in _WITHOUT_PROCESS:
        assert not process.alive, where
        assert not process.inflight, where
        assert not process.ahead, where
    if a.phase is not Phase.AWAITING_POLICY:
        assert a.pending is None, f"{where}: a verdict nobody waits for"
        assert not a.errors, f"{where}: errors nobody is asked about"
    if process.cancelled and process.stage is None and a.phase in (
        Phase.READY, Phase.AWAITING_POLICY
    ):  # fmt: skip
        running = {request.id for request in process.inflight}
        assert process.cancelled.keys() <= running, f"{where}: cancelled, and does not run"
        assert not process.alive or _armed(core, Due.TASK, a), f"{where}: a task may run for ever"
    match a.phase:
        case Phase.WAITING:
            assert a.key in core.start_queue, f"{where}: forgotten"
            assert len(core.starting) >= core.start_limit, f"{where}: a slot is free"
        case Phase.STARTING:
            assert process.alive, where
            assert process.stage is not None or _armed(core, Due.START, a), where
        case Phase.READY:
            _ready(core, a, where)
        case Phase.AWAITING_POLICY:
            down = a.cycle is not None and not a.cycle.starting  # judged, waits for its turn to go
            assert down or (a.key, a.ticket) in asked, f"{where}: nobody was asked"
        case Phase.RETIRING | Phase.STOPPING:
            assert process.alive or a.beside, f"{where}: waits for an exit that has been"
            assert process.stage is not None or not process.alive, f"{where}: nobody told it to go"
        case Phase.BACKOFF:
            assert _armed(core, Due.BACKOFF, a), f"{where}: no timer"
        case Phase.HELD:
            stays = core.drained(a) and not tree.may_end(a)
            assert a.cycle is not None or stays, f"{where}: without a group"
        case Phase.DONE:
            assert process.alive, f"{where}: kept for nothing"
    if a.draining is not None and a.grace is None and a.phase not in _GONE:
        drained = (
            (not process.inflight or (a.service and process.course is Course.SERVING))
            and core.drained(a)
            and a.phase is Phase.READY
            and process.course is not Course.RENEWING
        )
        assert not (drained and tree.may_end(a) and process.stage is None), (
            f"{where}: drained, its turn has come, and it stays"
        )
    if a.cycle is not None and not core.closing:
        _cycle(core, a, where)


def _ready(core: Core, a: Instance, where: str) -> None:
    process = a.process
    assert process.alive, f"{where}: without a process"
    assert len(process.inflight) <= process.concurrency, f"{where}: more requests than at once"
    flow = core.ledger.boxes[a.mailbox].flow
    held_back = flow is not None and flow.active
    width, members = core.ledger.boxes[a.mailbox].width, core.ledger.boxes[a.mailbox].members
    busy = sum(bool(core.instances[key].process.inflight) for key in members)
    waits = process.held and (held_back or (width is not None and busy >= width))
    assert (
        process.inflight
        or not process.ahead
        or process.stage is not None
        or process.course is not Course.SERVING
        or waits
    ), f"{where}: nothing under way, and something ahead"
    for request in process.inflight:
        assert request.state is RequestState.RESOLVED or request.worker == a.key, where
    if process.is_full:
        return
    if process.inflight:
        if process.course is Course.SERVING and process.stage is None and not held_back:
            first = [key for key in members if core.instances[key].process.inflight][:width]
            limited = a.key not in first or a.settings.max_requests is not None
            leaves = core.others_take_over(a)
            waits = core.ledger.waiting(a.mailbox) and not limited and not leaves
            assert not waits, f"{where}: has room while a request waits"
    elif process.course is Course.RENEWING:
        going = a.cycle is not None or process.stage is not None
        assert going, f"{where}: to be renewed, and nobody does it"
    elif process.stage is None and not process.course.leaves:
        box = core.ledger.boxes[a.mailbox]
        others = sum(bool(core.instances[key].process.inflight) for key in box.members)
        may = not core.others_take_over(a) and (box.width is None or others < box.width)
        if held_back and (others or core.timers.at((Due.FLOW, a.mailbox)) is not None):
            may = False  # somebody's answer, or that timer, will have it looked at again
        assert not (may and core.ledger.waiting(a.mailbox)), f"{where}: idle while a request waits"


def _cycle(core: Core, a: Instance, where: str) -> None:
    group = a.cycle
    assert group is not None
    assert a.key in group.members, f"{where}: in a group that does not know it"
    assert a.phase not in _GONE, f"{where}: in a group after its end"
    members = [core.instances[key] for key in group.members]
    for member in members:
        assert member.cycle is group, f"{where}: {member.name} is in two groups"
    if group.starting:
        moving = members[0].phase in (
            Phase.WAITING, Phase.STARTING, Phase.BACKOFF, Phase.AWAITING_POLICY, Phase.RETIRING
        )  # fmt: skip
    else:
        moving = any(member.phase is Phase.RETIRING for member in members)
    assert moving, f"{where}: a group restart that nobody carries on"


def _armed(core: Core, due: Due, a: Instance) -> bool:
    return (due, a.key) in core.timers._at
