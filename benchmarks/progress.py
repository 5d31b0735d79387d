"""How far a row is: a bar that goes away on a terminal, a plain line where stderr is a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def rounds(title: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how many of ``total`` rounds are done until the block ends; gives the function to be
    called after each."""
    console = Console(stderr=True, highlight=False, markup=False)
    if not _may_move(console):
        console.print(title, soft_wrap=True)
        yield lambda: None
        return
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)


def _may_move(console: Console) -> bool:
    # Not console.is_terminal, which FORCE_COLOR makes true for a file as well.
    in_ci = os.environ.get("CI", "") not in ("", "0", "false")
    return console.file.isatty() and not console.is_dumb_terminal and not in_ci
