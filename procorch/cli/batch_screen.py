"""The progress of a batch: a bar that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from procorch.cli import screen

if TYPE_CHECKING:
    from procorch.batch.items import BatchItem
    from procorch.batch.report import BatchSummary
    from procorch.batch.runner import BatchRun

_NEWS = 20
"""Failures that get a line of their own while the batch runs; the summary has them all."""
_EVERY = 10.0
"""Seconds between two plain lines, where a quarter of the items takes longer."""
_ROWS = 32
"""Workers that are shown, at most."""


class View(Protocol):
    """Shows how far a batch is."""

    def tell(self, item: BatchItem) -> None:
        """One more item has its outcome."""
        ...

    def update(self) -> None:
        """Some time has passed."""
        ...


@contextmanager
def shown(run: BatchRun, *, watch: bool, data_flows: bool) -> Iterator[View]:
    """Show the progress on stderr until the block ends.

    Args:
        watch: with a line for each worker.
        data_flows: rows go to stdout meanwhile, which must not be the same terminal then.
    """
    console = screen.stderr()
    if screen.may_move(console, data_flows=data_flows):
        bar = _Bar(run, console, watch=watch)
        with bar.live:
            yield bar
            bar.update()
    else:
        lines = _Lines(run, console)
        yield lines
        lines.end()


class _News:
    """The first failures, a line each."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0

    def tell(self, item: BatchItem) -> None:
        if item.ok:
            return
        self._told += 1
        if self._told <= _NEWS:
            self._console.print(_news(item), soft_wrap=True)
        elif self._told == _NEWS + 1:
            self._console.print("further failures are in the summary", soft_wrap=True)


class _Bar(_News):
    def __init__(self, run: BatchRun, console: Console, *, watch: bool) -> None:
        super().__init__(console)
        self._run = run
        self._watch = watch
        columns = [BarColumn(), TextColumn("{task.description}")]
        wide = console.width >= screen.NARROW
        self._progress = Progress(*(columns if wide else columns[1:]), console=console)
        self._task = self._progress.add_task("", total=run.progress().total)
        self._next = 0.0
        self._shown: Group | Progress = self._progress
        # Or rich would send our data to stderr while the bar is there.
        self.live = Live(
            self._progress.get_renderable(), console=console, refresh_per_second=8,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip

    def update(self) -> None:
        now = time.monotonic()
        if now < self._next and not self._run.over:
            return
        self._next = now + (0.5 if self._watch else 0.12)
        progress = self._run.progress()
        words = ", ".join(_words(progress, _waits_for(self._run)))
        self._progress.update(self._task, completed=progress.done, description=words)
        shown = self._progress.get_renderable()
        if self._watch and not self._run.over:
            shown = Group(_table(self._run), shown)
        self.live.update(shown)


def _table(run: BatchRun) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("pid", justify="right")
    table.add_column("state")
    table.add_column("item", overflow="ellipsis", no_wrap=True)
    table.add_column("for", justify="right")
    table.add_column("memory", justify="right")
    for work in run.workers()[:_ROWS]:
        busy = work.item is not None
        table.add_row(
            str(work.pid or ""), work.state.lower(), Text(work.item or ""),
            f"{work.seconds:.1f} s" if busy else "", f"{work.rss / 2**20:.0f} MiB",
        )  # fmt: skip
    return table


class _Lines(_News):
    """A line for each quarter, or every ten seconds, and whenever something holds it up."""

    def __init__(self, run: BatchRun, console: Console) -> None:
        super().__init__(console)
        self._run = run
        self._quarter = 0
        self._next = time.monotonic() + _EVERY
        self._trouble: str | None = None

    def update(self) -> None:
        progress = self._run.progress()
        quarter = progress.done * 4 // progress.total if progress.total else 0
        now = time.monotonic()
        trouble = self._run.trouble or (self._run.pause is not None and "paused") or None
        if quarter > self._quarter or now >= self._next or trouble != self._trouble:
            self._say(progress)
            self._quarter, self._next, self._trouble = quarter, now + _EVERY, trouble

    def end(self) -> None:
        """The last line, if it was not said."""
        if self._quarter < 4 and self._run.progress().ended == "finished":
            self._say(self._run.progress())

    def _say(self, progress: BatchSummary) -> None:
        words = ", ".join(_words(progress, _waits_for(self._run)))
        self._console.print(f"batch: {words}", soft_wrap=True)


def _waits_for(run: BatchRun) -> str | None:
    """What holds the batch up, in words."""
    if run.trouble is not None:
        return f"WAITING: {run.trouble}"
    pause = run.pause
    return None if pause is None else str(pause)


def _words(progress: BatchSummary, waits_for: str | None) -> list[str]:
    of = "" if progress.total is None else f"/{progress.total}"
    words = [f"{progress.done}{of} items"]
    if progress.failed:
        words.append(f"{progress.failed} failed")
    if progress.rate:
        words.append(f"{progress.rate:.1f}/s" if progress.rate < 100 else f"{progress.rate:.0f}/s")
    if progress.eta and progress.eta >= 1:
        words.append(f"{_span(progress.eta)} left")
    if waits_for is not None:
        words.append(waits_for)
    return words


def _span(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _news(item: BatchItem) -> Text:
    tried = f" after {item.attempts} attempts" if item.attempts > 1 else ""
    place = "" if item.place is None else f": {item.place}"
    return Text.assemble(("x", "red"), f" {item.id} {item.reason}{place}{tried}")
