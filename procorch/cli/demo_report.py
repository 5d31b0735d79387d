"""The rows of a demo run, for a person: news, table, summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from procorch.demo.rows import FAILED, KILLED, PASSED, Row

_STYLES = {PASSED: "green", FAILED: "yellow", KILLED: "red"}


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run came to as a whole.

    Args:
        workers: how many agents there were.
        replaced: how often a process of theirs was replaced.
        seconds: how long it took, start and end of the workers included.
        resumed: candidates that an earlier run has done.
        author: who wrote the candidates, and what it took, in a line; None: people.
        outage: which node was killed meanwhile, and what that cost, in a line; None: none was.
    """

    workers: int
    replaced: int
    seconds: float
    resumed: int = 0
    author: str | None = None
    outage: str | None = None


def is_news(row: Row) -> bool:
    """Whether a person should see it: what went well is no news, nor is that a model is wrong."""
    return row.outcome == KILLED or not row.as_expected


def news(row: Row) -> Text | None:
    """A line to be read while the run goes on; None for what is no news."""
    if not is_news(row):
        return None
    x = ("x", _STYLES[row.outcome])
    return Text.assemble(x, f" {_item(row)} {_how(row)}; {_who(row)} is {row.worker}")


def print_table(console: Console, rows: Sequence[Row]) -> None:
    """What is news, in the order of the items: a table, or a list where it has no room."""
    rows = sorted(filter(is_news, rows), key=lambda row: row.index)
    if not rows:
        return
    table = _table(rows)
    unlimited = console.options.update(max_width=1000)
    if Measurement.get(console, unlimited, table).maximum <= console.width:
        console.print(table)
        return
    for row in rows:
        console.print(Text(_item(row), "bold"))
        console.print(Text(f"  {_how(row)};", _STYLES[row.outcome]))
        console.print(f"  {_who(row)} is {row.worker}")


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in ("item", "candidate", "agent"):
        table.add_column(header)
    table.add_column("pid", justify="right")
    table.add_column("ended by")
    table.add_column("its worker is")
    for row in rows:
        table.add_row(
            row.id,
            row.candidate,
            row.agent,
            "" if row.pid is None else str(row.pid),
            Text(_cause(row) if row.outcome == KILLED else _how(row), _STYLES[row.outcome]),
            row.worker,
        )
    return table


def print_summary(console: Console, rows: Sequence[Row], figures: Figures) -> None:
    """Counts and figures, then the verdict, with each item that is not as it should be."""
    counts = Counter(row.outcome for row in rows)
    parts = ", ".join(f"{counts[outcome]} {outcome}" for outcome in (PASSED, FAILED, KILLED))
    before = f", {figures.resumed} of them done before" if figures.resumed else ""
    console.print(f"{parts} of {len(rows)} candidates in {figures.seconds:.1f} s{before}")
    workers, times = _counted(figures.workers, "worker"), _counted(figures.replaced, "time")
    console.print(f"{workers}, replaced {times} before the end")
    if figures.outage is not None:
        console.print(figures.outage)
    wrong = sorted((row for row in rows if not row.as_expected), key=lambda row: row.index)
    if figures.author is not None:
        console.print(figures.author)
        _print_grouped(console, rows)
    elif not wrong:
        console.print(Text("every candidate had the outcome that it should have", "green"))
    for row in wrong:
        console.print(Text(f"not as it should be: {_item(row)} {_how(row)}", "bold red"))


def _print_grouped(console: Console, rows: Sequence[Row]) -> None:
    """Which ones a model got right, and how often it was wrong in which way."""
    right = sorted((row for row in rows if row.outcome == PASSED), key=lambda row: row.index)
    if right:
        console.print(Text(f"passed: {', '.join(row.id for row in right)}", _STYLES[PASSED]))
    wrong = Counter(_kind(row) for row in rows if row.outcome == FAILED and row.as_expected)
    if wrong:
        often = sorted(wrong.items(), key=lambda each: (-each[1], each[0]))
        kinds = ", ".join(f"{number} {kind}" for kind, number in often)
        console.print(Text(f"failed: {kinds}", _STYLES[FAILED]))


def _kind(row: Row) -> str:
    return _cause(row).partition(":")[0]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _item(row: Row) -> str:
    return f"{row.id} ({row.candidate})"


def _who(row: Row) -> str:
    return f"{row.agent}" if row.pid is None else f"{row.agent} (pid {row.pid})"


def _how(row: Row) -> str:
    match row.outcome:
        case "killed":
            return f"ended by {_cause(row)}"
        case "failed":
            return f"failed: {_cause(row)}"
        case other:
            return other


def _cause(row: Row) -> str:
    return " ".join((row.cause or "").split())
