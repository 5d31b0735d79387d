"""P2c: `AgentExecutor` in the place of `ProcessPoolExecutor`, two workers and no other argument.

That is what a user meets who changes the name of the class and nothing else.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Samples, Scale
from benchmarks.work import double
from procorch import AgentExecutor

WORKERS = 2
CHUNK = 5_000
_MANY = 40
"""So many times as many calls where they go in chunks of `CHUNK`."""

_SUBMIT, _SINGLE, _CHUNKED = "submit", "map, chunksize 1", f"map, chunksize {CHUNK:,}"
_PLAIN, _START = "map, no chunksize", "start to first result"


def rate(work: Callable[[], list[Any]], amount: int) -> list[float]:
    """Calls a second."""
    began = time.perf_counter()
    results = work()
    elapsed = time.perf_counter() - began
    assert len(results) == amount
    assert results[-1] == double(amount - 1)
    return [amount / elapsed]


def executor(make: Callable[[], Executor]) -> Callable[[int], Any]:
    """A contender.

    Args:
        make: starts an executor.
    """

    @contextmanager
    def opened(amount: int) -> Iterator[Round]:
        with make() as warm:
            list(warm.map(double, range(100)))

            def mapped(count: int, **options: Any) -> list[float]:
                return rate(lambda: list(warm.map(double, range(count), **options)), count)

            def submitted() -> list[Any]:
                futures = [warm.submit(double, number) for number in range(amount)]
                return [future.result() for future in futures]

            def one_round() -> Samples:
                return {
                    _SUBMIT: rate(submitted, amount),
                    _SINGLE: mapped(amount, chunksize=1),
                    _CHUNKED: mapped(_MANY * amount, chunksize=CHUNK),
                    _PLAIN: mapped(amount),
                    _START: [started(make)],
                }

            yield one_round

    return opened


def started(make: Callable[[], Executor]) -> float:
    """Seconds until the first result of a new executor."""
    began = time.perf_counter()
    with make() as fresh:
        assert fresh.submit(double, 1).result() == double(1)
        return time.perf_counter() - began


def _spawning() -> Executor:
    return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn"))


_PEER, _SPAWN = "ProcessPoolExecutor", "ProcessPoolExecutor, spawn"

_RATE = Metric("1/s", better="high")

ROW = Row(
    id="P2c",
    work="AgentExecutor with defaults, 2 workers",
    amount="calls",
    metrics={_SUBMIT: _RATE, _SINGLE: _RATE, _CHUNKED: _RATE, _PLAIN: _RATE, _START: Metric("s")},
    contenders={
        OURS: Contender(executor(lambda: AgentExecutor(WORKERS))),
        _PEER: Contender(executor(lambda: ProcessPoolExecutor(WORKERS))),
        _SPAWN: Contender(executor(_spawning)),
    },
    goals=(
        Goal("faster", (_PEER,), target=2.0, stretch=3.0, metric=_SUBMIT),
        Goal("faster", (_PEER,), target=1.5, stretch=2.0, metric=_SINGLE),
        Goal("faster", (_PEER,), target=1.2, stretch=2.0, metric=_CHUNKED),
        Goal("faster", (_PEER,), target=1.0, metric=_PLAIN),
        Goal("faster", (_SPAWN,), target=1.0, metric=_START),
    ),
    full=Scale(rounds=7, amount=5_000),
    quick=Scale(rounds=3, amount=1_000),
    smoke=Scale(rounds=1, amount=5),
    notes=(
        "`submit` sends all calls, then takes all results. With chunks of "
        f"{CHUNK:,} there are {_MANY} times as many calls. Without a chunksize "
        "ProcessPoolExecutor sends one call at a time. The start includes the making of the "
        "executor, and not its end.",
    ),
)
