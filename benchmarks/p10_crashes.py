"""P10: a batch in which one item of twenty kills the worker that gets it.

pebble fails that item alone. The pools of loky and of the standard library are of no more use then,
so what was under way is tried again in a new one, item by item, until it is known which of them was
the killer: that is what it takes to lose nothing.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.peers import EXECUTOR
from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Samples, Scale
from benchmarks.work import double, double_or_die, kills, risky_doubler
from procorch import run_batch

WORKERS = 2
_AHEAD = 4 * WORKERS
"""Items that a pool has at once: those that have to be tried again when it breaks."""
_UNWRITTEN = "procorch, no journal"

Outcomes: TypeAlias = Iterable[tuple[int, int | None]]
"""Each item with its output, or None where it has killed its worker."""


def counted(batch: Callable[[int], Outcomes], amount: int) -> Samples:
    """Seconds for a batch, and how many items have not got the one outcome that is theirs."""
    began = time.perf_counter()
    found = sorted(batch(amount), key=lambda outcome: outcome[0])
    elapsed = time.perf_counter() - began
    wanted = {number: None if kills(number) else double(number) for number in range(amount)}
    told = dict(found)
    assert len(told) == len(found), "an item has two outcomes"
    lost = sum(number not in told or told[number] != wanted[number] for number in wanted)
    return {"time": [elapsed], "lost": [float(lost)]}


def contender(batch: Callable[[int], Outcomes], needs: str | None = None) -> Contender:
    """Each round is a batch of its own; a small one goes before, so that all is loaded."""

    @contextmanager
    def opened(amount: int) -> Iterator[Round]:
        counted(batch, 5)
        yield lambda: counted(batch, amount)

    return Contender(opened, needs)


def durable(amount: int) -> Outcomes:
    """`run_batch` as it is meant to be used."""
    with tempfile.TemporaryDirectory() as directory:
        yield from ours(amount, Path(directory) / "run.db")


def ours(amount: int, path: Path | None = None) -> Outcomes:
    """`run_batch` with a journal or without."""
    with run_batch(risky_doubler, range(amount), out=path, workers=WORKERS) as run:
        for item in run:
            yield item.position, item.output


def pebble(amount: int) -> Outcomes:
    """Its pool replaces a worker that dies."""
    import pebble as library

    with library.ProcessPool(max_workers=WORKERS) as pool:
        futures = [pool.schedule(double_or_die, args=[number]) for number in range(amount)]
        for number, future in enumerate(futures):
            try:
                yield number, future.result()
            except library.ProcessExpired:
                yield number, None


def rebuilt(make: Callable[[], Executor]) -> Callable[[int], Outcomes]:
    """A pool that breaks, and a new one each time it has."""

    def batch(amount: int) -> Outcomes:
        left = iter(range(amount))
        suspects: deque[int] = deque()
        while True:
            with make() as executor:
                while suspects:  # alone, so that it is known who it was
                    number = suspects.popleft()
                    try:
                        yield number, executor.submit(double_or_die, number).result()
                    except BrokenExecutor:
                        yield number, None
                        break
                else:
                    yield from together(executor, left, suspects)
                    if not suspects:
                        return

    return batch


def together(executor: Executor, left: Iterator[int], suspects: deque[int]) -> Outcomes:
    """Run what is left until all is done, or the pool has broken and what it had is suspect."""
    under_way: dict[Future[int], int] = {}
    while not suspects:
        for number in itertools.islice(left, _AHEAD - len(under_way)):
            try:
                under_way[executor.submit(double_or_die, number)] = number
            except BrokenExecutor:
                suspects.append(number)
                break
        if not under_way:
            return
        done, _ = concurrent.futures.wait(under_way, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in done:
            number = under_way.pop(future)
            if isinstance(future.exception(), BrokenExecutor):
                suspects.append(number)
            else:
                yield number, future.result()
    for future, number in under_way.items():
        if isinstance(future.exception(), BrokenExecutor):
            suspects.append(number)
        else:
            yield number, future.result()


def _executor() -> Executor:
    return concurrent.futures.ProcessPoolExecutor(WORKERS)


def _loky() -> Any:
    import loky

    return loky.ProcessPoolExecutor(WORKERS)


_EXECUTOR = f"{EXECUTOR}, rebuilt"
_LOKY = "loky, rebuilt"

ROW = Row(
    id="P10",
    work="batch in which 5 % of the items kill their worker, 2 workers",
    amount="items",
    metrics={"time": Metric("s"), "lost": Metric("")},
    contenders={
        OURS: contender(durable),
        _UNWRITTEN: contender(ours),
        "pebble": contender(pebble, "pebble"),
        _EXECUTOR: contender(rebuilt(_executor)),
        _LOKY: contender(rebuilt(_loky), "loky"),
    },
    goals=(
        Goal("faster", ("pebble",), target=4.0, stretch=8.0),
        Goal("faster", (_LOKY,), target=1.0),
        Goal("faster", (_EXECUTOR,), target=1.0),
        Goal("within", target=0.0, metric="lost"),
    ),
    full=Scale(rounds=5, amount=2_000),
    quick=Scale(rounds=3, amount=600),
    smoke=Scale(rounds=1, amount=20),
    notes=(
        "A round starts its workers and ends them. procorch writes a journal meanwhile, the "
        "others keep nothing.",
    ),
)
