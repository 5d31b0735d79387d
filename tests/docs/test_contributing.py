"""The commands of `CONTRIBUTING.md` are about tests, environments and mutants that exist."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator

from tests.docs.test_blocks import ROOT, read_blocks
from tests.faults.test_matrix import functions_of
from tests.mutants.rules import MUTANTS

PAGE = ROOT / "CONTRIBUTING.md"


def commands() -> Iterator[list[str]]:
    """The commands of the tables and of the shell blocks, word by word."""
    for found in re.findall(r"`([^`\n]*\.venv/bin/[^`\n]*)`", PAGE.read_text(encoding="utf-8")):
        yield shlex.split(found)
    for block in read_blocks(PAGE):
        if block.language == "bash":
            for line in block.code.splitlines():
                yield from map(shlex.split, line.split(" && "))


def test_paths_and_tests_that_are_named_exist() -> None:
    paths = re.findall(r"\b(?:tests|docs|benchmarks|procorch)/[\w/.-]*", PAGE.read_text("utf-8"))
    assert [path for path in paths if not (ROOT / path.rstrip(".")).exists()] == []
    for command in commands():
        for file, _, name in (word.partition("::") for word in command):
            assert not name or name in functions_of(ROOT / file), f"{file} has no {name}"


def test_environments_of_tox_exist() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    named = [command[2] for command in commands() if command[1:2] == ["-e"]]
    assert named
    assert [name for name in named if f"testenv:{name}" not in tox] == []


def test_the_mutant_exists() -> None:
    words = [command[2] for command in commands() if "tests/mutants/run.py" in command]
    assert words
    for word in words:
        assert [mutant for mutant in MUTANTS if word in mutant.name], word
