"""Links between pages lead somewhere, and every page is found from `docs/index.md`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.docs.test_blocks import ROOT, pages

INDEX = ROOT / "docs" / "index.md"


def tokens(page: Path) -> list[Token]:
    return MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The files of the repository that `page` links to, each with the heading, if one is named."""
    for token in tokens(page):
        for child in token.children or ():
            target = urlsplit(str(child.attrGet("href") or ""))
            if child.type == "link_open" and not target.scheme:
                yield (
                    (page.parent / target.path).resolve() if target.path else page,
                    target.fragment,
                )


def anchors(page: Path) -> set[str]:
    """The names by which the headings of `page` are linked to, as GitHub makes them."""
    every = tokens(page)
    headings = [
        every[place + 1].content for place, each in enumerate(every) if each.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for target, heading in links(page):
        assert target.exists(), target
        assert not heading or heading in anchors(target), f"{target.name} has no heading #{heading}"


def test_every_page_is_found_from_the_index() -> None:
    found, to_read = {INDEX}, [INDEX]
    while to_read:
        for target, _ in links(to_read.pop()):
            if target.suffix == ".md" and target not in found:
                found.add(target)
                to_read.append(target)
    assert [page for page in pages() if page not in found] == []


def test_pages_that_the_code_names_exist() -> None:
    """A decision may be named by its number alone."""
    for folder in ("procorch", "tests", "benchmarks"):
        for path in sorted(ROOT.glob(f"{folder}/**/*.py")):
            for name in re.findall(r"\bdocs/(?:[\w-]+/)*[\w-]+", path.read_text(encoding="utf-8")):
                assert list(ROOT.glob(f"{name}*")), f"{path.relative_to(ROOT)} names {name}"
