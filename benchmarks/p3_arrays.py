"""P3: a large array there and back."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


def timed(there_and_back: Callable[[Any], Any], size: int) -> Round:
    """A round: one array of ``size`` million bytes."""
    array = _array(size)

    def once() -> Samples:
        began = time.perf_counter()
        back = there_and_back(array)
        elapsed = time.perf_counter() - began
        assert back.nbytes == array.nbytes
        assert back[-1] == array[-1]
        return {"time": [elapsed]}

    once()
    return once


@contextmanager
def procorch(size: int) -> Iterator[Round]:
    """`OrchestratedHandle.submit` of the array itself."""
    with AgentOrchestrator() as orchestrator:
        orchestrator.add_agent("echo", echo)
        handle = orchestrator.spawn("echo")
        yield timed(lambda array: handle.submit(array).result().output, size)


def _serve(connection: Connection) -> None:
    while (array := connection.recv()) is not None:
        connection.send(array)


@contextmanager
def bare_pipe(size: int) -> Iterator[Round]:
    """A child that sends back what comes on a pipe."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_serve, args=(theirs,))
    child.start()

    def there_and_back(array: Any) -> Any:
        ours.send(array)
        return ours.recv()

    yield timed(there_and_back, size)
    ours.send(None)
    child.join()


@contextmanager
def copies(size: int) -> Iterator[Round]:
    """Two copies in this process, as ``copy`` makes them: each in memory of its own."""
    yield timed(lambda array: array.copy().copy(), size)


def contender(kind: Kind) -> Contender:
    """A peer that sends back what comes."""

    @contextmanager
    def opened(size: int) -> Iterator[Round]:
        with kind.open(1) as peer:
            yield timed(lambda array: peer.call(same, array), size)

    return Contender(opened, kind.needs or _NUMPY)


ROW = Row(
    id="P3",
    work="numpy array of 100 MB there and back",
    amount="MB",
    metrics={"time": Metric("s")},
    contenders={
        OURS: Contender(procorch, _NUMPY),
        PIPE: Contender(bare_pipe, _NUMPY),
        _COPIES: Contender(copies, _NUMPY),
        **{name: contender(kind) for name, kind in PEERS.items()},
    },
    goals=(
        Goal("faster", (PIPE,), target=3.0),
        Goal("faster", (EXECUTOR,), target=3.0),
        Goal("times", (_COPIES,), stretch=3.0),
    ),
    full=Scale(rounds=11, amount=100),
    quick=Scale(rounds=3, amount=100),
    smoke=Scale(rounds=1, amount=1),
)
