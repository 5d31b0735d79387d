"""Where output goes: data to stdout, progress to stderr, each as its reader can take it.

rich answers for colours (``NO_COLOR``, ``FORCE_COLOR``, not a terminal). Whether something may move
on the screen is decided here: a log file that collects the frames of a bar is of no use to anybody,
so where stderr is no terminal, and under ``CI``, progress is plain lines.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from procorch.cli import streams

_LINES = 4
"""How many lines a whole run gets where progress is plain lines."""

NARROW = 60
"""Columns below which a bar has no room for words."""


def stdout() -> Console:
    """The console for data."""
    return Console(file=streams.data(), highlight=False, markup=False, emoji=False)


def stderr() -> Console:
    """The console for progress and for what a person should know beside the data."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


class Meter(Protocol):
    """Shows how far the work is."""

    def step(self, news: Text | None = None) -> None:
        """One more item is done; ``news`` is a line about it that is worth reading now."""
        ...


@contextmanager
def meter(what: str, total: int, *, data_flows: bool) -> Iterator[Meter]:
    """Show the progress of ``total`` items on stderr until the block ends.

    Args:
        what: a word for the work.
        data_flows: rows go to stdout meanwhile, which must not be the same terminal then.
    """
    console = stderr()
    if may_move(console, data_flows=data_flows):
        wide = console.width >= NARROW
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
        progress = Progress(
            *(columns if wide else columns[-1:]),
            TimeElapsedColumn(),
            console=console,
            # Or rich would send our data to stderr while the bar is there.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with progress:
            yield _Bar(progress, what, total)
    else:
        yield _Lines(console, what, total)


def may_move(console: Console, *, data_flows: bool) -> bool:
    """Whether progress may be drawn over itself on ``console``.

    Args:
        data_flows: rows go to stdout meanwhile, which must not be the same terminal then.
    """
    # Not console.is_terminal, which FORCE_COLOR makes true for a file as well.
    return (
        console.file.isatty()
        and not console.is_dumb_terminal
        and os.environ.get("CI", "") in ("", "0", "false")
        and not (data_flows and streams.on_a_terminal())
    )


class _Bar:
    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total)

    def step(self, news: Text | None = None) -> None:
        if news is not None:
            self._progress.console.print(news)
        self._progress.advance(self._task)


class _Lines:
    def __init__(self, console: Console, what: str, total: int) -> None:
        self._console = console
        self._what = what
        self._total = total
        self._done = 0

    def step(self, news: Text | None = None) -> None:
        if news is not None:
            self._console.print(news, soft_wrap=True)
        self._done += 1
        if self._done * _LINES // self._total > (self._done - 1) * _LINES // self._total:
            self._console.print(f"{self._what}: {self._done} of {self._total}", soft_wrap=True)
