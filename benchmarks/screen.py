"""A run in a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks import wording
from benchmarks.figures import Outcome, Report, Verdict


def print_row(console: Console, outcome: Outcome) -> None:
    """What every contender did."""
    title = f"{outcome.id}  {outcome.work} ({wording.scale(outcome)}, {outcome.seconds:.0f} s)"
    table = Table(title=title, title_justify="left", title_style="bold")
    several = len({each.metric for each in outcome.series}) > 1
    if several:
        table.add_column("metric")
    table.add_column("contender")
    for name in ("median", "spread", "p99"):
        table.add_column(name, justify="right")
    for each in outcome.series:
        cells = [
            each.contender,
            wording.figure(each.median, each.unit),
            wording.spread(each),
            wording.tail(each),
        ]
        table.add_row(
            *([each.metric] if several else []),
            *cells,
            style="bold" if each.contender.startswith("procorch") else None,
        )
    console.print(table)
    for name, reason in outcome.left_out.items():
        console.print(f"  without {name}: {reason}", soft_wrap=True)


def print_goals(console: Console, outcomes: Iterable[Outcome]) -> None:
    """The table of targets."""
    table = Table(title="Targets", title_justify="left", title_style="bold")
    table.add_column("row")
    table.add_column("figure", justify="right")
    table.add_column("is", overflow="fold")
    table.add_column("target", justify="right")
    table.add_column("stretch", justify="right")
    for outcome in outcomes:
        for verdict in outcome.verdicts:
            table.add_row(
                outcome.id,
                wording.measured(verdict),
                wording.compared(verdict),
                _mark(verdict, verdict.target, verdict.target_met),
                _mark(verdict, verdict.stretch, verdict.stretch_met),
            )
    console.print(table)


def _mark(verdict: Verdict, value: float | None, reached: bool | None) -> Text:
    style = "" if reached is None else "green" if reached else "red"
    return Text(f"{wording.mark(verdict, value)} {wording.met(reached)}".strip(), style)


def print_circumstances(console: Console, report: Report) -> None:
    """Where, with what, and how long."""
    machine = report.machine
    console.print(
        f"{report.scale} run of {report.seconds:.0f} s on {machine.cpu}, "
        f"{machine.cores_usable} of {machine.cores} cores, {machine.kernel}, load "
        f"{machine.load_before[0]:g} before and {machine.load_after[0]:g} after",
        soft_wrap=True,
    )
    console.print(", ".join(f"{name} {what}" for name, what in report.versions.items()))
