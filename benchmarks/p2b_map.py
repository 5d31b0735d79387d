"""P2b: a trivial function over many whole numbers, two workers.

What is measured is what a call costs when there is next to nothing to do, and how well it is hidden
in chunks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.peers import EXECUTOR, PEERS, POOL, Kind
from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Samples, Scale
from benchmarks.work import double, doubler
from procorch import AgentPool

WORKERS = 2
CHUNKS = (1_000, 5_000, 25_000)
"""Chunk sizes that `ProcessPoolExecutor`, which chooses none, is given in turn."""


def rate(mapped: Callable[[range], Any], amount: int) -> Samples:
    """Items a second."""
    items = range(amount)
    began = time.perf_counter()
    results = mapped(items)
    elapsed = time.perf_counter() - began
    assert len(results) == amount
    assert results[-1] == double(items[-1])
    return {"rate": [amount / elapsed]}


@contextmanager
def procorch(amount: int) -> Iterator[Round]:
    """`AgentPool.map`."""
    with AgentPool(doubler, workers=WORKERS) as pool:
        pool.map(range(100))
        yield lambda: rate(pool.map, amount)


def contender(kind: Kind, chunksize: int | None = None) -> Contender:
    """A peer's own ``map``."""

    @contextmanager
    def opened(amount: int) -> Iterator[Round]:
        with kind.open(WORKERS) as peer:

            def mapped(items: range) -> Any:
                return peer.map(double, items, chunksize)

            mapped(range(100))
            yield lambda: rate(mapped, amount)

    return Contender(opened, kind.needs)


def _named(chunksize: int) -> str:
    return f"{EXECUTOR}, chunks of {chunksize:,}"


_CHOOSES_NONE = {"pebble": 5_000, "loky": 5_000, "ray": 5_000}

ROW = Row(
    id="P2b",
    work="pool.map of a trivial function, 2 workers",
    amount="items",
    metrics={"rate": Metric("1/s", better="high")},
    contenders={
        OURS: Contender(procorch),
        **{_named(chunksize): contender(PEERS[EXECUTOR], chunksize) for chunksize in CHUNKS},
        **{
            name: contender(kind, _CHOOSES_NONE.get(name))
            for name, kind in PEERS.items()
            if name != EXECUTOR
        },
    },
    goals=(
        Goal("faster", (POOL,), target=0.9, stretch=1.2, metric="rate"),
        Goal("faster", tuple(map(_named, CHUNKS)), target=1.3, stretch=2.0, metric="rate"),
    ),
    full=Scale(rounds=5, amount=200_000),
    quick=Scale(rounds=3, amount=50_000),
    smoke=Scale(rounds=1, amount=20),
    notes=(
        "multiprocessing.Pool, multiprocess.Pool, billiard and mpire choose their chunks "
        "themselves; pebble, loky and Ray get 5,000.",
    ),
)
