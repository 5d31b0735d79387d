"""What ``procorch bench`` tells of measurements: a table, JSON, and what failed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from procorch.bench import measurement
from procorch.bench.markdown import lines
from procorch.bench.measurement import Measurement
from procorch.bench.suites import HEADERS, SuiteComparison
from procorch.cli import screen, streams

if TYPE_CHECKING:
    from procorch.cli.bench_verdicts import Verdicts

_UNLIMITED = 100_000
"""Columns of an output that is no terminal: whoever reads it wants whole names."""


def as_json(measured: Sequence[Measurement], verdicts: Verdicts) -> str:
    """All of it as JSON."""
    data = {"measurements": [each.to_dict() for each in measured], **verdicts.to_dict()}
    return json.dumps(data, indent=2) + "\n"


def show(
    measured: Sequence[Measurement],
    verdicts: Verdicts,
    *,
    markdown: bool,
    each: bool,
) -> None:
    """Print the table, and the verdicts below it; warnings go to standard error.

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
    if verdicts.suite is not None:
        _show_suite(verdicts.suite, markdown=markdown)
    for comparison in verdicts.comparisons if verdicts.suite is None else ():
        streams.emit(("\n" if markdown else "") + str(comparison))
        for warning in comparison.warnings:
            streams.note(f"{comparison.b.name}: {warning}")
    if verdicts.floor is not None:
        gap = "\n" if markdown else ""
        streams.emit(f"{gap}below {verdicts.floor:.1%} this machine cannot tell")


def _show_suite(suite: SuiteComparison, *, markdown: bool) -> None:
    streams.emit("")
    if markdown:
        streams.emit(lines(HEADERS, suite.rows()), nl=False)
    else:
        _print_table(HEADERS, suite.rows())
    for remark in suite.remarks():
        streams.note(remark)


def _markdown(measured: Sequence[Measurement], each: bool) -> str:
    return measurement.table(measured, each=each)


def _show_table(measured: Sequence[Measurement], each: bool) -> None:
    _print_table(measurement.HEADERS, measurement.rows(measured, each=each))


def _print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print cells; the first column is names, which fold where there is no room for them."""
    console = screen.stdout()
    if not streams.on_a_terminal():
        console.width = _UNLIMITED
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    shown.add_column(headers[0], overflow="fold")
    for header in headers[1:]:
        shown.add_column(header, justify="right", no_wrap=True)
    for row in rows:
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
