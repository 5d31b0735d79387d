"""An agent as a whole: told to end, without instances, ended; and what its end means for the tree.

An agent ends when it was told to and its instances have ended, or when its last instance has ended
by itself. It goes on if that instance was retired: its requests wait for the next one.
"""

from __future__ import annotations

from procorch.errors import Aborted, AgentError, AgentStopped
from procorch.errors.texts import failed_start
from procorch.supervision import actions, holding, tree
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance, Team
from procorch.supervision.process import Course
from procorch.supervision.request import Request
from procorch.supervision.states import AgentStatus
from procorch.supervision.turns import check_turn


def told(core: Core, team: Team, event: ev.Cancel | ev.Drain | ev.Stop) -> None:
    """End an agent: tell all its instances, and linked children when it is to stop (N7)."""
    if team.key not in core.teams:
        return  # It has ended in this step.
    team.told = True
    for member in team.members:
        core.defer(member.key, event)
    if isinstance(event, ev.Stop):
        for child in reversed(team.children):
            if tree.linked(team, child) and not child.leaving:
                grace = min(event.grace, child.settings.shutdown.grace)
                core.defer(child, ev.Stop(child.key, grace))
    status = {ev.Cancel: AgentStatus.CANCELLED, ev.Drain: AgentStatus.COMPLETED}
    leave(core, team, status.get(type(event), AgentStatus.STOPPED))


def leave(core: Core, team: Team, status: AgentStatus) -> None:
    """The agent ends, and accepts no more requests.

    Args:
        status: the one that it ends with if it has no instance, or only retired ones.
    """
    team.leaving = True
    box = core.ledger.boxes.get(team.key)
    if box is None:
        return  # Its last instance is ending already.
    box.closed = True
    holding.set_paused(core, team.key, paused=False)  # what was accepted is finished (N15)
    if not box.members:
        team.final = (status, Aborted(agent=team.name) if core.closing else None)
        _drop_queue(core, team, *team.final)
        core.defer(team, end_empty)


def end_empty(core: Core, team: Team) -> None:
    """End an agent without instances that was told to, when its turn has come (N7)."""
    if team.key not in core.teams or team.final is None or team.members:
        return
    if tree.in_turn(team, stopped=team.final[0] is AgentStatus.STOPPED):
        finish(core, team, None)


def lost(core: Core, a: Instance) -> None:
    """The final status of ``a`` is fixed, and it takes no more requests.

    If it was the last instance that served, the agent ends: instances that were retired and still
    finish a request take those that wait, too.
    """
    team, box = a.team, core.ledger.boxes[a.mailbox]
    box.members.remove(a.key)
    if not team.leaving and not team.serving:
        team.empty = team.empty or a.draining is not None
        team.leaving = box.closed = not team.empty
        if team.leaving and box.paused:
            holding.set_paused(core, team.key, paused=False)
        core.look_again(a.mailbox)  # one that runs several requests at once may have room
    if team.leaving and not box.members:
        assert a.final is not None
        _drop_queue(core, team, *a.final)


def _drop_queue(core: Core, team: Team, status: AgentStatus, error: AgentError | None) -> None:
    for request in core.ledger.empty(team.key):
        core.resolve(request, _unserved(core, team, status, error, request))
    core.ledger.drop(team.key)
    core.timers.disarm((Due.FLOW, team.key))
    core.timers.disarm((Due.TAKE_BACK, team.key))


def _unserved(
    core: Core, team: Team, status: AgentStatus, error: AgentError | None, request: Request
) -> AgentError:
    if core.closing:
        return Aborted(agent=team.name)
    when = "before the request was tried again" if request.executed else "before the request ran"
    stopped = AgentStopped(
        f"agent reply dropped: agent {team.name!r} ended {status.name} {when}{failed_start(error)}",
        agent=team.name,
    )
    stopped.__cause__ = error
    return stopped


def last_ended(core: Core, a: Instance) -> None:
    """``a`` was the last instance of an agent that ends."""
    if a.team.empty and a.team.final is not None:  # it was retired before the agent was told
        end_empty(core, a.team)
    else:
        finish(core, a.team, a)


def finish(core: Core, team: Team, last: Instance | None) -> None:
    """The agent has ended; ``last``: the instance that ended last; None: it had none."""
    alone = team.final is not None or not team.told
    if team.final is None:
        assert last is not None
        assert last.final is not None
        team.final = last.final
        alone = alone or last.process.course is Course.FINISHED
    core.out.append(actions.AgentEnded(team.key, *team.final))
    del core.teams[team.key]
    for child in reversed(team.children):
        child.parent = None
        if tree.linked(team, child) and not child.leaving:
            core.defer(child, ev.Stop(child.key, child.settings.shutdown.grace))
    if team in team.siblings:
        team.siblings.remove(team)
    parent, team.parent = team.parent, None
    by_itself = alone and team.final[0] in (AgentStatus.COMPLETED, AgentStatus.FAILED)
    if parent is not None and by_itself and last is not None and _shuts_down(core, parent, team):
        for child in reversed(parent.children):
            core.defer(child, ev.Stop(child.key, child.settings.shutdown.grace))
        core.defer(parent, ev.Stop(parent.key, parent.settings.shutdown.grace))
    for other in [*team.siblings, *([] if parent is None else [parent])]:
        if other.leaving:
            core.defer(other, end_empty)
            for member in other.members:
                core.defer(member.key, check_turn)


def _shuts_down(core: Core, parent: Team, team: Team) -> bool:
    """Whether an agent that has ended by itself ends its group (N5, OTP)."""
    if not team.settings.significant or core.closing or parent.leaving:
        return False
    if parent.settings.auto_shutdown == "all_significant":
        return not any(child.settings.significant for child in parent.children)
    return parent.settings.auto_shutdown == "any_significant"
