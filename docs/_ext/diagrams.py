"""Diagrams in Mermaid's language, shown as text where nothing draws them."""

from __future__ import annotations

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx the languages of blocks that Pygments does not know."""
    for name in ("mermaid", "jsonl"):
        app.add_lexer(name, TextLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
