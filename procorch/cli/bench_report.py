"""What ``procorch bench`` tells of measurements: a table, JSON, and what failed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from procorch.bench import Comparison, Measurement, markdown
from procorch.cli import screen, streams

_UNLIMITED = 100_000
"""Columns of an output that is no terminal: whoever reads it wants whole names."""


def as_json(measured: Sequence[Measurement], comparisons: Sequence[Comparison]) -> str:
    """All of it as JSON."""
    data: dict[str, Any] = {"measurements": [each.to_dict() for each in measured]}
    if comparisons:
        data["comparisons"] = [
            {"a": each.a.name, "b": each.b.name, **each.summary()} for each in comparisons
        ]
    return json.dumps(data, indent=2) + "\n"


def show(
    measured: Sequence[Measurement],
    comparisons: Sequence[Comparison],
    *,
    markdown: bool,
    each: bool,
) -> None:
    """Print the table, and the comparisons below it.

    Args:
        markdown: as Markdown.
        each: a line for each request, too.
    """
    if markdown:
        streams.emit(_markdown(measured, each), nl=False)
    else:
        _show_table(measured, each)
        errors = screen.stderr()
        for one in measured:
            for warning in one.warnings:
                errors.print(f"{one.name}: {warning}", style="yellow", soft_wrap=True)
    for comparison in comparisons:
        streams.emit(("\n" if markdown else "") + str(comparison))


def _markdown(measured: Sequence[Measurement], each: bool) -> str:
    return markdown.table(measured, each=each)


def _show_table(measured: Sequence[Measurement], each: bool) -> None:
    console = screen.stdout()
    if not streams.on_a_terminal():
        console.width = _UNLIMITED
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in markdown.HEADERS:
        if header == "agent":
            shown.add_column(header, overflow="fold")
        else:
            shown.add_column(header, justify="right", no_wrap=True)
    for row in markdown.rows(measured, each=each):
        shown.add_row(*row)
    console.print(shown)


def tell_failures(measured: Sequence[Measurement]) -> None:
    """Print on standard error what failed, one line for each kind of failure."""
    for one in measured:
        told: set[str] = set()
        for failure in one.failures:
            if failure.kind not in told:
                told.add(failure.kind)
                streams.note(f"{one.name}: {one.success}: {failure.text}")
