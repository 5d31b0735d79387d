"""P9: a batch of trivial items whose every outcome is kept on the disk before it is handed out.

The reference that people write for themselves is a `ProcessPoolExecutor` and one transaction for
each result. Its database is opened as ours is (a write-ahead log that is synced at every commit),
so that it promises as much as a journal does: what was handed out is still there after the power
has gone.

A round is a batch from its beginning to its end: workers are started, items run, files closed.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers import EXECUTOR
from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Samples, Scale
from benchmarks.work import double, doubler
from procorch import run_batch

WORKERS = 2
AT_HAND = 4
_UNWRITTEN = "procorch, no journal"
_COMMITS = f"{EXECUTOR}, a commit an item"


def timed(batch: Callable[[int, Path], Iterable[tuple[int, int]]], amount: int) -> Samples:
    """Seconds for a batch that yields a position and an output for each item."""
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        found = dict(batch(amount, Path(directory) / "run.db"))
        elapsed = time.perf_counter() - began
    assert found == {number: double(number) for number in range(amount)}
    return {"time": [elapsed]}


def contender(batch: Callable[[int, Path], Iterable[tuple[int, int]]]) -> Contender:
    """Each round is a batch of its own; a small one goes before, so that all is loaded."""

    @contextmanager
    def opened(amount: int) -> Iterator[Round]:
        timed(batch, 10)
        yield lambda: timed(batch, amount)

    return Contender(opened)


def durable(amount: int, path: Path, prefetch: int = 1) -> Iterator[tuple[int, int]]:
    """`run_batch` as it is meant to be used."""
    with run_batch(doubler, range(amount), out=path, workers=WORKERS, prefetch=prefetch) as run:
        for item in run:
            if item.error is not None:
                raise item.error
            yield item.position, item.output


def forgetful(amount: int, path: Path) -> Iterator[tuple[int, int]]:
    """The same without a journal."""
    with run_batch(doubler, range(amount), out=None, workers=WORKERS) as run:
        for item in run:
            if item.error is not None:
                raise item.error
            yield item.position, item.output


def committing(amount: int, path: Path) -> Iterator[tuple[int, int]]:
    """All items handed to the executor, each result committed when it is there."""
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database,
        concurrent.futures.ProcessPoolExecutor(WORKERS) as executor,
    ):
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE results (id TEXT PRIMARY KEY, output TEXT)")
        futures = {executor.submit(double, number): number for number in range(amount)}
        for future in concurrent.futures.as_completed(futures):
            number = futures[future]
            database.execute(
                "INSERT INTO results VALUES (?, ?)", (str(number), str(future.result()))
            )
            yield number, future.result()


ROW = Row(
    id="P9",
    work="durable batch of trivial items, 2 workers",
    amount="items",
    metrics={"time": Metric("s")},
    contenders={
        OURS: contender(durable),
        f"{OURS}, prefetch of {AT_HAND}": contender(functools.partial(durable, prefetch=AT_HAND)),
        _UNWRITTEN: contender(forgetful),
        _COMMITS: contender(committing),
    },
    goals=(
        Goal("times", (_UNWRITTEN,), target=1.5),
        Goal("faster", (_COMMITS,), target=1.0),
    ),
    full=Scale(rounds=5, amount=20_000),
    quick=Scale(rounds=3, amount=4_000),
    smoke=Scale(rounds=1, amount=20),
    notes=(
        "A round starts its workers and ends them. The commits of the executor are those of the "
        "journal: a write-ahead log, synced each time.",
    ),
)
