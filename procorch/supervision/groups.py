"""Restarting several agents for one (N5): down in reverse order, one by one, then up in order.

A `Cycle` is one such restart. Whoever still has to come up is in it; a member that is ready again
leaves it, and one that ends for good drops out. A failure while it is under way begins a new cycle
that takes over the members of the old one: for ``one_for_all`` those that were up already go down
again, for ``rest_for_one`` they stay.
"""

from __future__ import annotations

from procorch.errors import AgentCrashed
from procorch.supervision import tree
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Cycle, Instance
from procorch.supervision.states import AgentStatus, Phase


def begin(core: Core, a: Instance, *, alone: bool = False) -> None:
    """Restart ``a`` with everybody who is restarted with it; ``alone``: without its siblings."""
    waiting = () if a.cycle is None else a.cycle.members
    members = tree.cycle(core.instances, a, waiting, alone=alone)
    # Another restart may be under way in a part of this group: it becomes part of this one.
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
                    _bring_down(core, member, group)  # lest it starts before its turn to go down
        advance(core, group)
    for cycle in earlier:  # Who is ending stays behind in it, to finish what it has accepted.
        advance(core, cycle)


def advance(core: Core, group: Cycle) -> None:
    """Do the next thing that does not have to wait for another."""
    if not group.rising:
        for key in reversed(group.members):
            member = core.instances[key]
            if member.phase is not Phase.HELD:
                _bring_down(core, member, group)
            if member.phase is not Phase.HELD:
                return  # One after the other: its exit comes back here.
        group.rising = True
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
        # Its error was complete before the group failed; only the verdict on it is dropped.
        if a.pending.request is not None:
            core.resolve(a.pending.request, a.pending.error, a.pending.payload)
        a.pending = None
    core.enter(a, Phase.RETIRING if a.process.alive else Phase.HELD)


def abandon(a: Instance) -> None:
    """The group restart that ``a`` takes part in does not go on: everything closes (I2).

    Who has not gone down yet stays, to finish what it has accepted.
    """
    a.process.keep()
    if a.cycle is not None:
        a.cycle.members.clear()
        if a.phase is not Phase.RETIRING:  # whose exit will name the one to blame
            a.cycle = None


def risen(core: Core, a: Instance) -> None:
    """A member is ready again: the next one's turn."""
    drop(core, a)


def drop(core: Core, a: Instance) -> None:
    """``a`` is no longer part of a group restart, which goes on without it."""
    group = _leave(a)
    if group is not None:
        advance(core, group)


def _leave(a: Instance) -> Cycle | None:
    """Take ``a`` out of its group restart; which one that was."""
    group, a.cycle = a.cycle, None
    if group is not None and a.key in group.members:
        group.members.remove(a.key)
    return group
