"""Groups, linked subtrees, and the order of starts and ends. Only reads the tree.

All walks use a list as their stack: a tree may be deeper than Python's call stack (N4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from procorch.supervision.instance import Instance
from procorch.supervision.restarts import Window
from procorch.supervision.states import AgentStatus, Phase

Instances = Mapping[int, Instance]

_LEAVING = (Phase.STOPPING, Phase.DONE)


def children(instances: Instances, a: Instance) -> list[Instance]:
    """The children that have not ended, in order of start."""
    found = [instances[key] for key in a.children if key in instances]
    return [child for child in found if child.phase is not Phase.DONE]


def linked(parent: Instance, child: Instance) -> bool:
    """Whether the child ends with the parent; implied by a grouped strategy (N4)."""
    return child.settings.link != "record" or parent.settings.grouped


def leaving(a: Instance) -> bool:
    """Whether it has ended, is ending or was told to end."""
    return a.draining is not None or a.phase in _LEAVING


def may_end(instances: Instances, a: Instance) -> bool:
    """Whether its turn to end has come: leaves first, siblings in reverse order of start (N7).

    A stopped instance also waits for linked children that have not been told to stop yet.
    """
    stopped = a.draining is AgentStatus.STOPPED
    for child in children(instances, a):
        if leaving(child) or (stopped and linked(a, child)):
            return False
    for key in reversed(a.siblings):
        if key == a.key:
            return True
        sibling = instances.get(key)
        if sibling is not None and sibling.phase is not Phase.DONE and leaving(sibling):
            return False
    return True


def ancestors(instances: Instances, a: Instance) -> Iterator[Instance]:
    """The parent, its parent and so on, nearest first."""
    while a.parent is not None and a.parent in instances:
        a = instances[a.parent]
        yield a


def windows(instances: Instances, a: Instance) -> list[Window]:
    """The intensity windows in which a restart of ``a`` counts (N2).

    The window of its parent, whose group it belongs to. Without children it is a group of its own,
    and its own window counts as well.
    """
    parent = instances.get(a.parent) if a.parent is not None else None
    owners = ([parent] if parent is not None else []) + ([] if a.children else [a])
    return [owner.window for owner in owners if owner.window is not None]


def cycle(
    instances: Instances, a: Instance, also: Iterable[int] = (), *, alone: bool = False
) -> list[int]:
    """The instances that are restarted with ``a``: keys in order of start, parents before children.

    These are ``a`` and its siblings by its parent's strategy (N5), without siblings for ``alone``
    (a restart on request); all instances linked to one of them by "restart" (N4); and ``also``, the
    members of a group restart under way. Instances that are ending are left out.
    """
    chosen = set(also) | {a.key}
    parent = instances.get(a.parent) if a.parent is not None else None
    if parent is not None and parent.settings.grouped and not alone:
        group = [child.key for child in children(instances, parent)]
        if parent.settings.strategy == "rest_for_one":
            group = group[group.index(a.key) :]
        chosen.update(group)
    stack = list(chosen)
    while stack:
        above = instances.get(stack.pop())
        for child in children(instances, above) if above is not None else ():
            if child.settings.link == "restart" and child.key not in chosen:
                chosen.add(child.key)
                stack.append(child.key)
    return [
        key for key in _in_order(instances, chosen) if key == a.key or not leaving(instances[key])
    ]


def _in_order(instances: Instances, chosen: set[int]) -> list[int]:
    tops = [
        key for key in sorted(chosen) if key in instances and instances[key].parent not in chosen
    ]
    ordered: list[int] = []
    stack = tops[::-1]
    while stack:
        key = stack.pop()
        ordered.append(key)
        stack += [child for child in reversed(instances[key].children) if child in chosen]
    return ordered
