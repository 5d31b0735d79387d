"""`docs/explanation/design.md` names every module in the section of its room, no other."""

from __future__ import annotations

import re

import pytest

from tests.structure.graph import PACKAGE, ROOT, imports, modules, room

PAGE = (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
MODULE = re.compile(r"`((?:\w+/)*\w+\.py)`")
SECTIONS = {
    name: text
    for heading, text in SECTION.findall(PAGE)
    for name in re.findall(r"`([\w./]+)`", heading)
}
"""By the names of rooms in the heading: ``wire/``, ``units.py``."""
FILES = [path.relative_to(ROOT / PACKAGE).as_posix() for path in modules().values()]


@pytest.mark.parametrize("file", [each for each in FILES if not each.endswith("/__init__.py")])
def test_a_module_is_named_in_the_section_of_its_room(file: str) -> None:
    folder, slash, inside = file.partition("/")
    if slash:
        assert f"`{inside}`" in SECTIONS[f"{folder}/"]
    else:
        assert file in SECTIONS


def test_modules_that_the_page_names_exist() -> None:
    for section, text in SECTIONS.items():
        folders = [ROOT / PACKAGE / section, ROOT / PACKAGE, ROOT / section, ROOT]
        for name in MODULE.findall(text):
            assert any((folder / name).is_file() for folder in folders), f"{section}: {name}"


def test_the_floors_are_those_of_the_imports() -> None:
    """A room is one floor above the highest room that it imports from."""
    below: dict[str, set[str]] = {room(name): set() for name in modules()}
    del below[PACKAGE]
    for each in imports():
        if PACKAGE not in (each.by, each.of) and room(each.by) != room(each.of):
            below[room(each.by)].add(room(each.of))

    def floor(of: str) -> int:
        return 1 + max((floor(each) for each in below[of]), default=0)

    drawn = {
        name: int(number)
        for number, names in re.findall(r"^floor +(\d+)  (\w+(?:, \w+)*)", PAGE, re.MULTILINE)
        for name in names.split(", ")
    }
    assert drawn == {name.removeprefix(f"{PACKAGE}."): floor(name) for name in below}


def test_rooms_come_after_those_that_they_import_from() -> None:
    order = [f"{PACKAGE}.{name.removesuffix('/').removesuffix('.py')}" for name in SECTIONS]
    place = {name: number for number, name in enumerate(order)}
    between = [each for each in imports() if PACKAGE not in (each.by, each.of)]
    assert [each for each in between if place[room(each.by)] < place[room(each.of)]] == []
