"""Restarting a group of agents (N5): stop them in reverse order, one by one, then start in order.

A `Cycle` is one such restart. Its members are the agents that are not ready again yet: an agent
leaves it when it is ready, or when it ends for good. A failure during a cycle begins a new one,
which takes over the members of the old one. With ``one_for_all`` the agents that were ready again
are stopped once more, with ``rest_for_one`` they stay.
"""

from __future__ import annotations

from procorch.errors import AgentCrashed
from procorch.supervision import tree
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Cycle, Instance
from procorch.supervision.states import AgentStatus, Phase


def begin(core: Core, a: Instance, *, alone: bool = False) -> None:
    """Restart ``a`` and all that are restarted with it; ``alone``: without its siblings."""
    waiting = () if a.cycle is None else a.cycle.members
    members = tree.cycle(core.instances, a, waiting, alone=alone)
    # A part of this group may be in another cycle: this one takes over its members.
    others = {key for m in members if (c := core.instances[m].cycle) for key in c.members}
    if not others <= set(members):
        members = tree.cycle(core.instances, a, others, alone=alone)
    earlier = [cycle for key in members if (cycle := _leave(core.instances[key])) is not None]
    if members == [a.key]:
        core.enter(a, Phase.RETIRING)
    else:
        group = Cycle([], a.name, a.delay)
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
    """Take the next step of a cycle: stop one member, or start one."""
    if not group.starting:
        for key in reversed(group.members):
            member = core.instances[key]
            if member.phase is not Phase.HELD:
                _bring_down(core, member, group)
            if member.phase is not Phase.HELD:
                return  # One after the other: its exit calls this again.
        group.starting = True
        if group.members and group.delay > 0:
            first = core.instances[group.members[0]]
            first.delay = group.delay
            core.enter(first, Phase.BACKOFF)
            return
    if group.members:
        first = core.instances[group.members[0]]
        if first.phase is Phase.HELD:
            core.enter(first, Phase.WAITING)


def _bring_down(core: Core, a: Instance, group: Cycle) -> None:
    core.timers.disarm((Due.BACKOFF, a.key))
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
