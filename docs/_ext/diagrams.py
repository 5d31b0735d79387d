"""Puts the drawings of Mermaid diagrams into the pages; `docs/draw_diagrams.py` makes them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

DRAWINGS = Path(__file__).resolve().parents[1] / "_static" / "diagrams"
MERMAID_BLOCK = re.compile(r"^```mermaid\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def key(text: str) -> str:
    """The name of the drawing of a diagram, which follows from its text."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:12]


class Drawn(SphinxTransform):
    """Replaces each block in Mermaid's language by its drawing."""

    default_priority = 500

    def apply(self) -> None:
        """Do it for one page."""
        for block in list(self.document.findall(nodes.literal_block)):
            if block.get("language") != "mermaid":
                continue
            path = DRAWINGS / f"{key(block.astext())}.svg"
            if not path.is_file():
                raise RuntimeError(
                    f"a diagram of {self.env.docname} has no drawing: run docs/draw_diagrams.py"
                )
            svg = path.read_text(encoding="utf-8")
            drawing = f'<figure class="diagram" role="img">{svg}</figure>'
            block.replace_self(nodes.raw("", drawing, format="html"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Draw diagrams, and tell Sphinx the languages of blocks that Pygments does not know."""
    for name in ("mermaid", "jsonl"):
        app.add_lexer(name, TextLexer)
    app.add_transform(Drawn)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
