"""Who belongs to whom: groups, linked subtrees, the order of starts and ends. Looks, never changes.

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
    """Whether the parent's end is the child's end; implied by a grouped strategy (N4)."""
    return child.settings.link != "record" or parent.settings.grouped


def leaving(a: Instance) -> bool:
    """Whether it has ended, or was told to."""
    return a.draining is not None or a.phase in _LEAVING


def may_end(instances: Instances, a: Instance) -> bool:
    """Whether its turn has come: leaves first, siblings in reverse order of start (N7).

    One that is stopped also waits for children that are linked to it and do not know of it yet.
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
    """The instances above, nearest first."""
    while a.parent is not None and a.parent in instances:
        a = instances[a.parent]
        yield a


def windows(instances: Instances, a: Instance) -> list[Window]:
    """The intensity windows in which a restart of ``a`` counts (N2).

    Its parent's, whose group it is part of, and its own where it heads a group of one.
    """
    parent = instances.get(a.parent) if a.parent is not None else None
    heads = ([parent] if parent is not None else []) + ([] if a.children else [a])
    return [head.window for head in heads if head.window is not None]


def cycle(
    instances: Instances, a: Instance, also: Iterable[int] = (), *, alone: bool = False
) -> list[int]:
    """Who is restarted when ``a`` is: keys in order of start, parents before children.

    Its siblings by its parent's strategy (N5; not for ``alone``, an operator's restart), whoever is
    linked to one of them by "restart" (N4), and ``also``, those of a group restart that was under
    way. Who is leaving is left out.
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
