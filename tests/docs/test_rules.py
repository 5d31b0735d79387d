"""`docs/reference/rules.md` has every rule that the code cites; its tests exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.test_blocks import ROOT
from tests.faults.test_matrix import NODE, functions_of

PAGE = ROOT / "docs" / "reference" / "rules.md"
LABELS = [*(f"N{number}" for number in range(24)), *(f"I{number}" for number in range(1, 6))]
NOT_BUILT: set[str] = set()
SECTION = re.compile(r"^##+ ([NI]\d+) [^\n]+\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)


def sections() -> dict[str, str]:
    return dict(SECTION.findall(PAGE.read_text(encoding="utf-8")))


def test_every_rule_has_its_section_in_order() -> None:
    assert list(sections()) == LABELS


@pytest.mark.parametrize("label", LABELS)
def test_a_rule_has_tests_and_they_exist(label: str) -> None:
    section = sections()[label]
    tests = NODE.findall(section)
    assert bool(tests) != (label in NOT_BUILT)
    assert ("**Not yet built.**" in section) == (label in NOT_BUILT)
    for file, name in tests:
        assert (ROOT / file).is_file(), file
        assert name in functions_of(ROOT / file), f"{file} has no {name}"


def test_every_label_in_the_package_is_one_of_a_rule() -> None:
    for path in sorted(ROOT.glob("procorch/**/*.py")):
        labels = re.findall(r"\bN\d+\b", path.read_text(encoding="utf-8"))
        assert set(labels) <= set(LABELS), path
