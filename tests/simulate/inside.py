"""What must hold inside the machine after every step: nothing is lost, nobody waits for nothing.

The rules of `books` say what may not happen. These say that what must happen still can: whoever
waits has somebody, or a timer, to wake him.
"""

from __future__ import annotations

from typing import NamedTuple

from procorch.supervision import actions, tree
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance
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
        if a.pending is not None and a.pending.request is not None:
            placed.add(a.pending.request.id)
    for box in core.ledger.boxes.values():
        assert box.members, "a mailbox without anybody to take from it"
        queued = [request for lane in box.lanes.values() for request in lane if request.is_open]
        assert box.waiting == len(queued), "the number of those that wait is wrong"
        assert all(request.state is RequestState.QUEUED for request in queued)
        placed.update(request.id for request in queued)
    for number in core.ledger.requests:
        assert number in placed, f"I1: request {number} is lost"


def before(core: Core) -> dict[int, Before]:
    """What has to be remembered of the state before a step."""
    return {
        key: Before(a, a.phase, a.draining is not None, list(a.children))
        for key, a in core.instances.items()
    }


class Before(NamedTuple):
    """One instance before a step."""

    a: Instance
    phase: Phase
    leaving: bool
    children: list[int]


def compare(core: Core, earlier: dict[int, Before], taken: list[actions.Action]) -> None:
    """Check what a step means for the tree: order of ends, links, auto-shutdown.

    Raises:
        AssertionError: it means something else.
    """
    for a in core.instances.values():
        was = earlier.get(a.key)
        if was is not None and was.phase not in _GONE and a.phase is Phase.STOPPING:
            _in_its_turn(core, a)
    for action in taken:
        if isinstance(action, actions.Send) and action.key in core.instances:
            _within_width(core, core.instances[action.key])
    ended = [action.key for action in taken if isinstance(action, actions.Ended)]
    for key in ended:
        if key in earlier:
            _consequences(core, earlier[key], alone=len(ended) == 1)


def _within_width(core: Core, a: Instance) -> None:
    box = core.ledger.boxes.get(a.mailbox)
    if box is None or box.width is None or len(box.members) <= box.width:
        return
    busy = sum(bool(core.instances[key].process.inflight) for key in box.members)
    assert busy <= box.width, f"{a.name}: more busy at once than the width of its mailbox"


def _in_its_turn(core: Core, a: Instance) -> None:
    assert a.final is not None
    if a.final[1] is None and a.draining is not None:
        for child in tree.children(core.instances, a):
            assert not (tree.leaving(child) and child.process.alive), (
                f"N7: {a.name} before {child.name}"
            )


def _consequences(core: Core, was: Before, *, alone: bool) -> None:
    a = was.a
    for key in was.children:
        child = core.instances.get(key)
        if child is not None and tree.linked(a, child):
            assert tree.leaving(child), f"N4: {child.name} outlives {a.name}"
            in_turn = a.draining is AgentStatus.STOPPED and a.final == (a.draining, None)
            replica = a.mailbox in core.ledger.boxes  # its queue is another's, too
            done = not child.process.alive or child.phase is Phase.DONE or core.closing or replica
            assert done or not in_turn, f"N7: {a.name} ended before {child.name}"
    parent = core.instances.get(a.parent) if a.parent is not None else None
    if parent is None or a.draining is not None or core.closing or not a.settings.significant:
        return
    if a.status in (AgentStatus.COMPLETED, AgentStatus.FAILED):
        others = any(c.settings.significant for c in tree.children(core.instances, parent))
        last = alone and not others  # else the last one may have been stopped with its group
        auto = parent.settings.auto_shutdown
        if auto == "any_significant" or (auto == "all_significant" and last):
            assert tree.leaving(parent), f"N5: {parent.name} goes on without {a.name}"


def _one(core: Core, a: Instance, asked: set[tuple[int, int]]) -> None:
    where = f"{a.name} in {a.phase.name}"
    process = a.process
    box = core.ledger.boxes.get(a.mailbox)
    assert (box is not None and a.key in box.members) == (a.phase not in _GONE), where
    if process.stage is not None and process.alive and process.stage is not StopStage.GIVE_UP:
        assert _armed(core, Due.STOP_STAGE, a), f"{where}: nothing follows {process.stage.name}"
    assert (a.key in core.starting) == (a.phase is Phase.STARTING and process.stage is None), where
    if a.phase in _WITHOUT_PROCESS:
        assert not process.alive, where
        assert not process.inflight, where
        assert not process.ahead, where
    if a.phase is not Phase.AWAITING_POLICY:
        assert a.pending is None, f"{where}: a verdict nobody waits for"
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
            assert process.alive, f"{where}: waits for an exit that has been"
            assert process.stage is not None, f"{where}: nobody told it to go"
        case Phase.BACKOFF:
            assert _armed(core, Due.BACKOFF, a), f"{where}: no timer"
        case Phase.HELD:
            stays = core.drained(a) and not tree.may_end(core.instances, a)
            assert a.cycle is not None or stays, f"{where}: without a group"
        case Phase.DONE:
            assert process.alive, f"{where}: kept for nothing"
    if a.draining is not None and a.grace is None and a.phase not in _GONE:
        drained = (
            not process.inflight
            and core.drained(a)
            and a.phase is Phase.READY
            and process.course is not Course.RENEWING
        )
        assert not (drained and tree.may_end(core.instances, a) and process.stage is None), (
            f"{where}: drained, its turn has come, and it stays"
        )
    if a.cycle is not None and not core.closing:
        _cycle(core, a, where)


def _ready(core: Core, a: Instance, where: str) -> None:
    process = a.process
    assert process.alive, f"{where}: without a process"
    assert len(process.inflight) <= 1, f"{where}: two requests at once"
    flow = core.ledger.boxes[a.mailbox].flow
    held_back = flow is not None and flow.active
    waits = process.held and held_back
    assert (
        process.inflight
        or not process.ahead
        or process.stage is not None
        or process.course is not Course.SERVING
        or waits
    ), f"{where}: nothing under way, and something ahead"
    if process.inflight:
        first = process.inflight[0]
        assert first.state is RequestState.RESOLVED or first.worker == a.key, where
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
