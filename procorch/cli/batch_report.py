"""What a batch came to, for a person: counts, failures by reason and place, the way to go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from procorch.batch import failed_items
from procorch.batch.errors import JournalError
from procorch.batch.export import fields_of_item
from procorch.batch.items import BatchItem
from procorch.batch.reader import FailureGroup
from procorch.batch.report import BatchSummary, gone_words, model_words, used_words
from procorch.cli import streams

_KINDS = 20
"""Kinds of failures that are shown."""


def json_of(item: BatchItem) -> dict[str, Any]:
    """One line of ``--json``."""
    return fields_of_item(item)


def write_failed(journal: Path) -> Path | None:
    """Put the failed items into a file that is input again, see `failed_items.write_failed`.

    Returns:
        The file; None where there is none, and it was said if it could not be written.
    """
    try:
        return failed_items.write_failed(journal)
    except (OSError, JournalError) as error:  # such as a journal that was removed
        why = error.strerror if isinstance(error, OSError) else error
        streams.note(f"failed items could not be put into a file: {why}")
        return None


def print_summary(
    console: Console,
    summary: BatchSummary,
    journal: Path,
    failed: Path | None,
    again: str,
    replaced: int,
) -> None:
    """The report of a batch that has just ended."""
    print_groups(console, summary.failures)
    of = "" if summary.total is None else f" of {summary.total}"
    fresh = summary.done - summary.resumed
    console.print(
        f"{summary.ok} ok, {summary.failed} failed{of} items in {summary.seconds:.1f} s"
        + (f" ({summary.rate:.0f}/s)" if fresh and summary.rate >= 1 else "")
    )
    if summary.usage.total:
        console.print(used_words(summary.usage, summary.cost))
    for line in (*model_words(summary.models), *summary.scores):
        console.print(str(line), soft_wrap=True)
    more = []
    if summary.resumed:
        more.append(f"{summary.resumed} of them in earlier runs")
    if summary.retried:
        more.append(_several(summary.retried, "further attempt"))
    if replaced:
        more.append(f"{_several(replaced, 'worker')} replaced")
    if more:
        console.print(", ".join(more))
    if summary.gone:
        console.print(gone_words(summary.gone))
    console.print(f"journal: {journal}", soft_wrap=True)
    if failed is not None:
        console.print(f"failed items, as input again: {failed}", soft_wrap=True)
    if summary.ended != "finished":
        console.print("to go on:", style="bold")
        console.print(f"  {again} --resume", soft_wrap=True)
    if summary.failed:
        console.print("to run again what has failed:", style="bold")
        console.print(f"  {again} --retry-failed", soft_wrap=True)


def _several(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def print_groups(console: Console, groups: tuple[FailureGroup, ...]) -> None:
    """Failures by reason and place: a table, or a list where it has no room."""
    if not groups:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("items", justify="right")
    for header in ("reason", "place", "such as"):
        table.add_column(header)
    for group in groups[:_KINDS]:
        table.add_row(
            str(group.count), Text(group.reason, "red"), Text(group.place), Text(group.example)
        )
    unlimited = console.options.update(max_width=1000)
    if Measurement.get(console, unlimited, table).maximum <= console.width:
        console.print(table)
    else:
        for group in groups[:_KINDS]:
            console.print(Text(f"{group.count} x {group.reason}, such as {group.example}:", "red"))
            console.print(f"  {group.place}")
    if len(groups) > _KINDS:
        console.print(f"and {len(groups) - _KINDS} more kinds")
