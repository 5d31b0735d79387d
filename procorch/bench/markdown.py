"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def lines(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """The lines of a table in Markdown; all columns but the first are aligned to the right."""
    found = [headers, ("---", *["---:"] * (len(headers) - 1)), *cells]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in found)
