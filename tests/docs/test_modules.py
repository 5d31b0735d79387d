"""Modules that pages name with their room (`wire/frame.py`) exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_blocks import ROOT, pages

MODULE = re.compile(r"`(\w+)/((?:\w+/)*\w+\.py)`")
PACKAGE = ROOT / "procorch"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_modules_that_a_page_names_exist(page: Path) -> None:
    named = MODULE.findall(page.read_text(encoding="utf-8"))
    rooms = [(room, module) for room, module in named if (PACKAGE / room).is_dir()]
    assert [each for each in rooms if not exists(*each)] == []


def exists(room: str, module: str) -> bool:
    """Whether it is there; on the design page a folder of a room may have the name of a room."""
    folders = [PACKAGE, *(each for each in PACKAGE.iterdir() if (each / room).is_dir())]
    return any((folder / room / module).is_file() for folder in folders)
