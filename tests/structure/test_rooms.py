"""The plan of the package holds: its rooms, what they import, and how large their modules are.

A *room* is a folder or a file at the top of the package. Import-linter says the same about single
packages (``pyproject.toml``).
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.structure.graph import PACKAGE, ROOT, Import, imports, modules, room

MOST_ROOMS = 25
MOST_FLOORS = 12
MOST_LINES = 350

ALL = imports()
INSIDE = {each for each in ALL if PACKAGE not in (each.by, each.of)}
"""Without the root, which refers to the public names for type checkers and loads them later."""


def circle(arrows: Iterable[tuple[str, str]]) -> list[str]:
    """Modules each of which imports the next, the last being the first; empty if there are none."""
    graph = defaultdict(set)
    for by, of in arrows:
        graph[by].add(of)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def layers() -> list[set[str]]:
    """The rooms as the first contract of import-linter has them, from the top."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    assert contract["containers"] == [PACKAGE]
    return [
        {f"{PACKAGE}.{name.strip(' ()')}" for name in layer.split("|")}
        for layer in contract["layers"]
    ]


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle((each.by, each.of) for each in ALL if not each.typing) == []


def test_no_circle_closes_through_imports_for_annotations() -> None:
    assert circle((each.by, each.of) for each in INSIDE) == []


def test_a_room_imports_from_rooms_below_it_only() -> None:
    floor = {room: number for number, layer in enumerate(reversed(layers())) for room in layer}
    upward = [
        each
        for each in INSIDE
        if room(each.by) != room(each.of) and floor[room(each.by)] <= floor[room(each.of)]
    ]
    assert upward == []


def test_there_are_few_rooms_and_few_floors() -> None:
    rooms = {room(module) for module in modules()}
    below = defaultdict(set)
    for each in INSIDE:
        if room(each.by) != room(each.of):
            below[room(each.by)].add(room(each.of))

    @cache
    def floor(of: str) -> int:
        return 1 + max((floor(each) for each in below[of]), default=0)

    assert len(rooms) <= MOST_ROOMS
    assert max(map(floor, rooms)) <= MOST_FLOORS


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_can_be_read_in_one_sitting(module: str) -> None:
    text = modules()[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES


# What the tests above look at is read rightly.


def test_imports_in_functions_and_for_annotations_are_seen_and_told_apart() -> None:
    assert Import("procorch.bench.inside.subject", "procorch.wire.codec", typing=False) in ALL
    assert Import("procorch.bench.inside.subject", "procorch.bench.inside.meter", False) in ALL
    assert Import("procorch", "procorch.agents.agent", typing=True) in ALL
    assert Import("procorch", "procorch.agents.agent", typing=False) not in ALL


def test_a_circle_is_found() -> None:
    assert circle([("a", "b"), ("b", "c"), ("c", "b")]) in (["b", "c", "b"], ["c", "b", "c"])
    assert circle([("a", "b"), ("a", "c"), ("b", "c")]) == []
