"""How the agents of a configuration refer to each other: names, and what each waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from procorch.daemon.config import keys
from procorch.daemon.config.agent_tables import Node
from procorch.errors.texts import did_you_mean


def check(nodes: Sequence[Node], *, complete: bool) -> list[str]:
    """Report names that are used twice, names that are unknown, and circles.

    Args:
        complete: all files could be read: only then a name is known to be wrong.

    Returns:
        Warnings.
    """
    by_name: dict[str, Node] = {}
    for node in nodes:
        first = by_name.setdefault(node.name, node)
        if first is not node:
            place = first.source.place(first.path)
            node.report(f"the name {node.name!r} is taken: names are unique, see {place}")
    warnings = []
    for node in nodes:
        for name, condition in node.values.get("after", {}).items():
            other = by_name.get(name)
            if other is None:
                if complete:
                    hint = did_you_mean(name, by_name, listed="known")
                    node.report(f"there is no agent {name!r}{hint}", "after", name)
            elif condition == "completed":
                _check_completed(node, other)
            if other is not None and _waits_in_vain(node, other):
                place = node.source.place((*node.path, "after", name))
                warnings.append(
                    f"{place}: {node.name!r} waits for {name!r}, which has autostart = false"
                )
    _refuse_circles(by_name)
    return warnings


def _check_completed(node: Node, other: Node) -> None:
    above = node.parent
    while above is not None and above is not other:
        above = above.parent
    if above is other:
        node.report("it ends with this agent, which is above it", "after", other.name)
    elif keys.never_completes(other.kind, other.settings):
        node.report(
            f'{other.name!r} never completes: its restart is "permanent"', "after", other.name
        )


def _waits_in_vain(node: Node, other: Node) -> bool:
    return node.values.get("autostart", True) and not other.values.get("autostart", True)


def _refuse_circles(nodes: Mapping[str, Node]) -> None:
    waits_for = {name: list(_waits_for(node, nodes)) for name, node in nodes.items()}
    for circle in _circles(waits_for):
        node = next(
            nodes[name]
            for name, following in pairwise(circle)
            if following in nodes[name].values.get("after", {})
        )
        place = circle.index(node.name)
        turned = [*circle[place:-1], *circle[:place], node.name]
        node.report(
            f"agents wait for each other in a circle: {' -> '.join(turned)}", "after", turned[1]
        )


def _waits_for(node: Node, nodes: Mapping[str, Node]) -> Iterable[str]:
    yield from (name for name in node.values.get("after", {}) if name in nodes)
    if node.parent is not None:
        yield node.parent.name  # it starts before its children


def _circles(arrows: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Circles, each with its first name at the end again. Each arrow is followed once."""
    found: list[list[str]] = []
    done: set[str] = set()
    for start in arrows:
        if start in done:
            continue
        way, ahead = [start], [iter(arrows[start])]
        while way:
            following = next(ahead[-1], None)
            if following is None:
                done.add(way.pop())
                ahead.pop()
            elif following in way:
                found.append([*way[way.index(following) :], following])
            elif following not in done:
                way.append(following)
                ahead.append(iter(arrows[following]))
    return found
