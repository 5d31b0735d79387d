"""P5: a worker is killed; how long until the next request is answered by the next one.

The reference is what a process from a warm server costs: ``multiprocess`` and its forkserver, from the
start to the first reply.
"""

from __future__ import annotations

import concurrent.futures
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Scale
from benchmarks.work import own_pid
from procorch import AgentOrchestrator, Backoff, DefaultSupervisor

_FORKSERVER = "multiprocess forkserver"


def _pid_teller() -> Callable[[object], int]:
    return own_pid


def recover(pid: int, ask: Callable[[], int]) -> float:
    """Seconds from the kill until ``ask`` is answered by another process."""
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    fresh = ask()
    elapsed = time.perf_counter() - began
    assert fresh != pid
    return elapsed


@contextmanager
def procorch(amount: int) -> Iterator[Round]:
    """The request is sent at once. Whether the dying worker still gets it is a matter of luck, and
    ``retries`` gives it to the next one in that case."""
    with AgentOrchestrator(supervisor=DefaultSupervisor()) as orchestrator:
        orchestrator.add_agent("worker", _pid_teller, backoff=Backoff(initial=0))
        handle = orchestrator.spawn("worker")

        def ask() -> int:
            pid: int = handle.submit("who?", retries=2).result().output
            return pid

        yield lambda: {"time": [recover(ask(), ask) for _ in range(amount)]}


def _reply(connection: Any) -> None:
    connection.send((connection.recv(), own_pid()))


@contextmanager
def forkserver(amount: int) -> Iterator[Round]:
    """The server has imported what the child needs."""
    import multiprocess

    context = multiprocess.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.p5_recovery"])

    def once() -> float:
        began = time.perf_counter()
        ours, theirs = context.Pipe()
        child = context.Process(target=_reply, args=(theirs,))
        child.start()
        theirs.close()
        ours.send("who?")
        ours.recv()
        elapsed = time.perf_counter() - began
        child.join()
        ours.close()
        return elapsed

    once()
    yield lambda: {"time": [once() for _ in range(amount)]}


def rebuilt_pool(make: Callable[[], Any], needs: str | None = None) -> Contender:
    """An executor that breaks: recovery is a new one."""

    @contextmanager
    def opened(amount: int) -> Iterator[Round]:
        executor = make()

        def ask() -> int:
            nonlocal executor
            while True:
                try:
                    pid: int = executor.submit(own_pid).result()
                    return pid
                except concurrent.futures.BrokenExecutor:
                    executor.shutdown()
                    executor = make()

        yield lambda: {"time": [recover(ask(), ask) for _ in range(amount)]}
        executor.shutdown()

    return Contender(opened, needs)


@contextmanager
def pebble(amount: int) -> Iterator[Round]:
    """The call that the dying worker got is made once more."""
    import pebble as library

    with library.ProcessPool(max_workers=1) as pool:

        def ask() -> int:
            while True:
                try:
                    pid: int = pool.schedule(own_pid).result()
                    return pid
                except library.ProcessExpired:
                    continue

        yield lambda: {"time": [recover(ask(), ask) for _ in range(amount)]}


def _loky() -> Any:
    import loky

    return loky.ProcessPoolExecutor(1)


ROW = Row(
    id="P5",
    work="SIGKILL until the next request is answered",
    amount="kills",
    metrics={"time": Metric("s")},
    contenders={
        OURS: Contender(procorch),
        _FORKSERVER: Contender(forkserver, "multiprocess"),
        "ProcessPoolExecutor": rebuilt_pool(lambda: concurrent.futures.ProcessPoolExecutor(1)),
        "pebble": Contender(pebble, "pebble"),
        "loky": rebuilt_pool(_loky, "loky"),
    },
    goals=(Goal("times", (_FORKSERVER,), target=0.5, stretch=0.1),),
    full=Scale(rounds=15, amount=10),
    quick=Scale(rounds=5, amount=5),
    smoke=Scale(rounds=1, amount=1),
    notes=("The forkserver only starts a process; that one has died is known to it beforehand.",),
)
