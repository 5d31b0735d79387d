"""The table of ``docs/reference/fault-matrix.md``: each row has a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = range(1, 29)
NOT_YET: set[int] = set()
ROW = re.compile(r"^\| (\d+) \|.*\| ([^|]*) \|$", re.MULTILINE)
NODE = re.compile(r"`(tests/\S+\.py)::(test_\w+)`")


def table() -> dict[int, list[tuple[str, str]]]:
    text = (ROOT / "docs" / "reference" / "fault-matrix.md").read_text()
    return {int(number): NODE.findall(tests) for number, tests in ROW.findall(text)}


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_row_is_in_the_table() -> None:
    assert list(table()) == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_tests_and_they_exist(row: int) -> None:
    named = table()[row]
    assert bool(named) != (row in NOT_YET)
    for file, name in named:
        assert (ROOT / file).is_file(), file
        assert name in functions_of(ROOT / file), f"{file} has no {name}"


def test_every_test_of_a_row_is_named_in_that_row() -> None:
    named = table()
    for path in sorted((ROOT / "tests" / "faults").glob("test_*.py")):
        for name in sorted(functions_of(path)):
            if match := re.match(r"test_row_(\d\d)_", name):
                file = path.relative_to(ROOT).as_posix()
                assert (file, name) in named[int(match[1])], f"{name} is not in its row"
