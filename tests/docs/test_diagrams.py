"""Each Mermaid diagram of the pages has a drawing, since the site has nothing that draws."""

from __future__ import annotations

import hashlib
import re

from tests.docs.test_blocks import ROOT, pages, read_blocks

DRAWINGS = ROOT / "docs" / "_static" / "diagrams"


def key(text: str) -> str:
    """The name of a drawing, as `docs/_ext/diagrams.py` makes it."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:12]


def test_each_diagram_is_drawn_and_no_drawing_is_left_over() -> None:
    """`docs/draw_diagrams.py` draws those that are missing."""
    wanted = {
        key(block.code): block.where
        for page in pages()
        for block in read_blocks(page)
        if block.language == "mermaid"
    }
    drawn = {path.stem for path in DRAWINGS.glob("*.svg")}
    assert [where for name, where in wanted.items() if name not in drawn] == []
    assert drawn - wanted.keys() == set()


def test_a_drawing_has_the_colours_of_the_theme_and_loads_nothing() -> None:
    for path in sorted(DRAWINGS.glob("*.svg")):
        text = path.read_text(encoding="utf-8")
        assert "var(--color-" in text, path.name
        assert "foreignObject" not in text, path.name
        assert re.findall(r"(?:href|src|url)\s*[=(]\s*[\"']?(?!#)https?:", text) == [], path.name
