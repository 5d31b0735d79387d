"""`docs/decisions/README.md` lists every decision, with the date and the status of its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_blocks import ROOT

DECISIONS = ROOT / "docs" / "decisions"
PAGES = sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")
HEAD = re.compile(r"# (\d{3}) (.+)\n\n- Date: (\d{4}-\d\d-\d\d)\n- Status: (.+)\n\n")
ROW = re.compile(r"^\| (\d{3}) \| \[(.+)\]\((\S+\.md)\) \| (.+) \| (\S+) \| (.+) \|$", re.MULTILINE)
LINK = r"\[\d{3}\]\(\d{3}-[\w-]+\.md\)"
STATUS = re.compile(rf"accepted(, amended by {LINK})?|superseded by {LINK}")


def head(page: Path) -> re.Match[str]:
    found = HEAD.match(page.read_text(encoding="utf-8"))
    assert found, f"{page.name} does not begin with its number and title, its date and its status"
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_decision_has_a_number_a_date_and_a_status(page: Path) -> None:
    number, _, _, status = head(page).groups()
    assert page.name.startswith(f"{number}-")
    assert STATUS.fullmatch(status), status


def test_no_two_decisions_have_one_number() -> None:
    numbers = [head(page)[1] for page in PAGES]
    assert numbers == sorted(set(numbers))


def test_the_index_says_what_the_pages_say() -> None:
    rows = ROW.findall((DECISIONS / "README.md").read_text(encoding="utf-8"))
    index = [(number, title, file, date, status) for number, title, file, _, date, status in rows]
    assert index == [
        (number, title, page.name, date, status)
        for page in PAGES
        for number, title, date, status in [head(page).groups()]
    ]
