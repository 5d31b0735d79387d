"""Groups, linked subtrees, and the order of starts and ends. Only reads the tree.

All walks use a list as their stack: a tree may be deeper than Python's call stack (N4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from procorch.supervision.instance import Instance, Team
from procorch.supervision.restarts import Window
from procorch.supervision.states import AgentStatus

Instances = Mapping[int, Instance]


def linked(parent: Team, child: Team) -> bool:
    """Whether the child ends with the parent; implied by a grouped strategy (N4)."""
    return child.settings.link != "record" or parent.settings.grouped


def may_end(a: Instance) -> bool:
    """Whether its turn to end has come: leaves first, siblings in reverse order of start (N7).

    A stopped instance also waits for linked children that have not been told to stop yet. An
    instance that ends without its agent need not wait: the agent and all below it go on. Instances
    of one agent do not wait for each other.
    """
    return not a.team.leaving or in_turn(a.team, stopped=a.draining is AgentStatus.STOPPED)


def in_turn(team: Team, *, stopped: bool) -> bool:
    """Whether the turn of an agent that ends has come; see `may_end`."""
    for child in team.children:
        if child.leaving or (stopped and linked(team, child)):
            return False
    for sibling in reversed(team.siblings):
        if sibling is team:
            return True
        if sibling.leaving:
            return False
    return True


def ancestors(team: Team) -> Iterator[Team]:
    """The parent, its parent and so on, nearest first."""
    while team.parent is not None:
        team = team.parent
        yield team


def windows(team: Team) -> list[Window]:
    """The intensity windows in which a restart of one of its instances counts (N2).

    The window of its parent, whose group it belongs to. Without children it is a group of its own,
    and its own window counts as well.
    """
    owners = ([] if team.parent is None else [team.parent]) + ([] if team.children else [team])
    return [owner.window for owner in owners if owner.window is not None]


def cycle(
    instances: Instances, a: Instance, also: Iterable[int] = (), *, alone: bool = False
) -> list[int]:
    """The instances that are restarted with ``a``: keys in order of start, parents before children.

    These are ``a`` and all instances of its agent and of the siblings by its parent's strategy
    (N5), without these for ``alone`` (a restart on request); and ``also``, the members of a group
    restart under way. If these are all instances of an agent, those of the agents linked to it by
    "restart" (N4) are among them: while other instances of it serve, its children go on. Instances
    that are ending are left out.
    """
    chosen = set(also) | {a.key}
    parent = a.team.parent
    if parent is not None and parent.settings.grouped and not alone:
        group = parent.children
        if parent.settings.strategy == "rest_for_one":
            group = group[group.index(a.team) :]
        chosen.update(member.key for team in group for member in team.members)
    teams = {instances[key].team.key: instances[key].team for key in chosen if key in instances}
    stack = list(teams.values())
    while stack:
        above = stack.pop()
        if not all(member.key in chosen for member in above.serving):
            continue
        for child in above.children:
            fresh = {member.key for member in child.members} - chosen
            if child.settings.link == "restart" and fresh:
                chosen |= fresh
                teams[child.key] = child
                stack.append(child)
    return [
        member.key
        for team in _in_order(teams)
        for member in team.members
        if member.key in chosen and (member is a or not member.leaving)
    ]


def _in_order(teams: Mapping[int, Team]) -> list[Team]:
    tops = [team for team in teams.values() if team.parent is None or team.parent.key not in teams]
    ordered: list[Team] = []
    stack = sorted(tops, key=lambda team: team.key, reverse=True)
    while stack:
        team = stack.pop()
        ordered.append(team)
        stack += [child for child in reversed(team.children) if child.key in teams]
    return ordered
