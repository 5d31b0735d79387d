"""P11: memory of the runner of a long batch.

The figure is by how much the resident memory of the process grows once the first items are done. It
is looked at every hundredth of the way, so what comes and goes in between is seen, too. The items
come from a generator and go to a journal, and what is handed out is dropped. Beside it, the same
way with the pools that people use: they hold the items, or their futures, all at once.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.peers import EXECUTOR, POOL
from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Samples, Scale
from benchmarks.work import double, doubler
from procorch import run_batch

WORKERS = 2
_FIRST = 10_000
_CHUNK = 1_000
_UNWRITTEN = "procorch, no journal"

MIB = 1 << 20


def growth(results: Callable[[Iterator[int]], Iterable[Any]], amount: int) -> Samples:
    """Resident bytes that come after the first items."""
    me = psutil.Process()
    first = min(_FIRST, amount // 2)
    step = max(1, amount // 100)
    before = most = count = 0
    for count, _ in enumerate(results(iter(range(amount))), 1):
        if count % step == 0 or count == first:
            rss = me.memory_info().rss
            before = max(before, rss) if count <= first else before
            most = max(most, rss)
    assert count == amount
    return {"growth": [float(most - before)]}


def contender(results: Callable[[Iterator[int]], Iterable[Any]]) -> Contender:
    """A way to the results of as many numbers as there are."""

    @contextmanager
    def opened(amount: int) -> Iterator[Round]:
        yield lambda: growth(results, amount)

    return Contender(opened)


def durable(items: Iterator[int]) -> Iterator[Any]:
    """`run_batch` as it is meant to be used."""
    with tempfile.TemporaryDirectory() as directory:
        yield from ours(items, Path(directory) / "run.db")


def ours(items: Iterator[int], path: Path | None = None) -> Iterator[Any]:
    """`run_batch` with a journal or without."""
    with run_batch(doubler, items, out=path, workers=WORKERS) as run:
        yield from run


def pool(items: Iterator[int]) -> Iterator[int]:
    """`multiprocessing.Pool.imap_unordered`, in chunks."""
    with multiprocessing.Pool(WORKERS) as workers:
        yield from workers.imap_unordered(double, items, _CHUNK)


def executor(items: Iterator[int]) -> Iterator[int]:
    """`ProcessPoolExecutor.map`, in chunks."""
    with concurrent.futures.ProcessPoolExecutor(WORKERS) as workers:
        yield from workers.map(double, items, chunksize=_CHUNK)


ROW = Row(
    id="P11",
    work="memory of the runner of a batch, 2 workers",
    amount="items",
    metrics={"growth": Metric("B")},
    contenders={
        OURS: contender(durable),
        _UNWRITTEN: contender(ours),
        POOL: contender(pool),
        EXECUTOR: contender(executor),
    },
    goals=(Goal("within", target=4.0 * MIB, metric="growth"),),
    full=Scale(rounds=1, amount=1_000_000),
    quick=Scale(rounds=1, amount=50_000),
    smoke=Scale(rounds=1, amount=20),
    notes=(
        "What the runner has more than after the first 10,000 items. The pools get chunks "
        f"of {_CHUNK:,}; one by one each item would have a future of its own.",
    ),
)
