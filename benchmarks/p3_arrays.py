"""P3: a large array there and back."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.p1_send_message import PIPE
from benchmarks.peers import EXECUTOR, PEERS, Kind
from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Samples, Scale
from benchmarks.work import echo, same
from procorch import AgentOrchestrator

_NUMPY = "numpy"
_COPIES = "two memory copies"


def _array(size: int) -> Any:
    import numpy as np

    return np.arange(size * 1_000_000 // 8, dtype=np.float64)


def timed(there_and_back: Callable[[Any], Any], payload: Any) -> Round:
    """A round: one payload."""

    def once() -> Samples:
        began = time.perf_counter()
        back = there_and_back(payload)
        elapsed = time.perf_counter() - began
        assert len(back) == len(payload)
        assert back[-1] == payload[-1]
        return {"time": [elapsed]}

    once()
    return once


@contextmanager
def procorch(payload: Any) -> Iterator[Round]:
    """`OrchestratedHandle.submit` of the payload itself."""
    with AgentOrchestrator() as orchestrator:
        orchestrator.add_agent("echo", echo)
        handle = orchestrator.spawn("echo")
        yield timed(lambda payload: handle.submit(payload).result().output, payload)


def _serve(connection: Connection) -> None:
    while (payload := connection.recv()) is not None:
        connection.send(payload)


@contextmanager
def bare_pipe(payload: Any) -> Iterator[Round]:
    """A child that sends back what comes on a pipe."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_serve, args=(theirs,))
    child.start()

    def there_and_back(payload: Any) -> Any:
        ours.send(payload)
        return ours.recv()

    yield timed(there_and_back, payload)
    ours.send(None)
    child.join()


@contextmanager
def copies(payload: Any) -> Iterator[Round]:
    """Two copies in this process, as ``copy`` makes them: each in memory of its own."""
    yield timed(lambda array: array.copy().copy(), payload)


def peer(kind: Kind) -> Callable[[Any], AbstractContextManager[Round]]:
    """A peer that sends back what comes."""

    @contextmanager
    def opened(payload: Any) -> Iterator[Round]:
        with kind.open(1) as each:
            yield timed(lambda payload: each.call(same, payload), payload)

    return opened


def contenders(make: Callable[[int], Any], needs: str | None) -> dict[str, Contender]:
    """All that send a payload there and back.

    Args:
        make: the payload of so many million bytes.
        needs: the package that it takes.
    """

    def of(
        opened: Callable[[Any], AbstractContextManager[Round]], also: str | None = None
    ) -> Contender:
        return Contender(lambda size: opened(make(size)), also or needs)

    return {
        OURS: of(procorch),
        PIPE: of(bare_pipe),
        **{name: of(peer(kind), kind.needs) for name, kind in PEERS.items()},
    }


ROW = Row(
    id="P3",
    work="numpy array of 100 MB there and back",
    amount="MB",
    metrics={"time": Metric("s")},
    contenders={
        **contenders(_array, _NUMPY),
        _COPIES: Contender(lambda size: copies(_array(size)), _NUMPY),
    },
    goals=(
        Goal("faster", (PIPE,), target=6.0, stretch=10.0),
        Goal("faster", (EXECUTOR,), target=3.0),
        Goal("times", (_COPIES,), stretch=3.0),
    ),
    full=Scale(rounds=11, amount=100),
    quick=Scale(rounds=3, amount=100),
    smoke=Scale(rounds=1, amount=1),
)
