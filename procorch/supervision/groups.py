"""Restarting a group of agents (N5): stop them in reverse order, one by one, then start in order.

A `Cycle` is one such restart. Its members are the instances that are not ready again yet: one
leaves it when it is ready, or when it ends for good. The instances of one agent stop, and start,
together. A failure during a cycle begins a new one, which takes over the members of the old one.
With ``one_for_all`` the agents that were ready again are stopped once more, with ``rest_for_one``
they stay.
"""

from __future__ import annotations

from procorch.errors import AgentCrashed
from procorch.supervision import several, tree
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Cycle, Instance, Team
from procorch.supervision.states import AgentStatus, Phase


def begin(core: Core, a: Instance, *, alone: bool = False, whole: bool = False) -> None:
    """Restart ``a`` and all that are restarted with it.

    Args:
        alone: without its siblings.
        whole: with all instances of its agent.
    """
    waiting = {member.key for member in a.team.members} if whole else set()
    waiting.update(() if a.cycle is None else a.cycle.members)
    members = tree.cycle(core.instances, a, waiting, alone=alone)
    # A part of this group may be in another cycle: this one takes over its members.
    others = {key for m in members if (c := core.instances[m].cycle) for key in c.members}
    if not others <= set(members):
        members = tree.cycle(core.instances, a, others, alone=alone)
    earlier = [cycle for key in members if (cycle := _leave(core.instances[key])) is not None]
    if members == [a.key]:
        core.enter(a, Phase.RETIRING)
    else:
        group = Cycle([], a.name, a.key, a.delay)
        for key in members:
            member = core.instances[key]
            if member is not a and member.settings.restart == "temporary":
                core.end(member, AgentStatus.STOPPED, AgentCrashed(agent=member.name, cause=a.name))
            else:
                member.cycle = group
                group.members.append(key)
                if not member.process.alive:
                    _bring_down(core, member, group)  # or it could start before its turn to stop
        advance(core, group)
    for cycle in earlier:  # Members that are ending stay in it, to finish their requests.
        advance(core, cycle)


def advance(core: Core, group: Cycle) -> None:
    """Take the next step of a cycle: stop one agent, or start one."""
    if not group.starting:
        going: Team | None = None
        for key in reversed(group.members):
            member = core.instances[key]
            if going is not None and member.team is not going:
                break  # One agent after the other: the last exit of this one calls this again.
            if member.phase is not Phase.HELD:
                _bring_down(core, member, group)
            if member.phase is not Phase.HELD:
                going = member.team
        if going is not None:
            return
        group.starting = True
        if group.members and group.delay > 0:
            first = core.instances[group.members[0]]
            first.delay = group.delay
            core.enter(first, Phase.BACKOFF)
            return
    begin_starts(core, group)


def begin_starts(core: Core, group: Cycle) -> None:
    """Start the first agent that is not ready again, with all its instances."""
    members = [core.instances[key] for key in group.members]
    if members and members[0].phase is not Phase.BACKOFF:
        for member in members:
            if member.team is members[0].team and member.phase is Phase.HELD:
                core.enter(member, Phase.WAITING)


def _bring_down(core: Core, a: Instance, group: Cycle) -> None:
    core.timers.disarm((Due.BACKOFF, a.key))
    several.flush(core, a)
    if a.pending is not None:
        # Its reply was complete before the group failed; only the verdict is dropped.
        if a.pending.request is not None:
            core.resolve(a.pending.request, a.pending.error, a.pending.payload)
        a.pending = None
    core.enter(a, Phase.RETIRING if a.process.alive else Phase.HELD)


def abandon(a: Instance) -> None:
    """Give up the group restart of ``a``, because the orchestrator closes (I2).

    Members that have not been stopped yet go on, to finish their requests.
    """
    a.process.keep()
    if a.cycle is not None:
        a.cycle.members.clear()
        if a.phase is not Phase.RETIRING:  # the error of its exit will name the agent to blame
            a.cycle = None


def became_ready(core: Core, a: Instance) -> None:
    """A member is ready again: start the next one."""
    drop(core, a)


def drop(core: Core, a: Instance) -> None:
    """Take ``a`` out of its group restart, which goes on without it."""
    group = _leave(a)
    if group is not None:
        advance(core, group)


def _leave(a: Instance) -> Cycle | None:
    """Take ``a`` out of its group restart, and return that restart."""
    group, a.cycle = a.cycle, None
    if group is not None and a.key in group.members:
        group.members.remove(a.key)
    return group
