"""P5: a worker is killed; how long until the next request is answered by the next one.

The reference is what a process from a warm server costs: ``multiprocess`` and its forkserver, from
the start to the first reply.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Scale
from benchmarks.work import own_pid, pid_teller, reply_with_pid
from procorch import AgentOrchestrator, AgentPool, Backoff, DefaultSupervisor

_FORKSERVER = "multiprocess forkserver"
_SPARE = "procorch, a warm spare"
_MODULE = "benchmarks.work"
"""What a worker imports if it is not there yet; the forkserver has imported it, too."""


def recover(pid: int, ask: Callable[[], int]) -> float:
    """Seconds from the kill until ``ask`` is answered by another process."""
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    fresh = ask()
    elapsed = time.perf_counter() - began
    assert fresh != pid
    return elapsed


@contextmanager
def procorch(amount: int, *, preload: Sequence[str] = (_MODULE,)) -> Iterator[Round]:
    """The request is sent at once. Whether the dying worker still gets it is a matter of luck, and
    ``retries`` gives it to the next one in that case."""
    with AgentOrchestrator(supervisor=DefaultSupervisor(), preload=preload) as orchestrator:
        orchestrator.add_agent("worker", pid_teller, backoff=Backoff(initial=0))
        handle = orchestrator.spawn("worker")

        def ask() -> int:
            pid: int = handle.submit("who?", retries=2).result().output
            return pid

        yield lambda: {"time": [recover(ask(), ask) for _ in range(amount)]}


@contextmanager
def spare(amount: int) -> Iterator[Round]:
    """A pool of one worker, and a second process that waits to take over. The next kill comes when
    there is a spare again."""
    with AgentPool(
        pid_teller, 1, warm_spares=1, retries=2, backoff=Backoff(initial=0), preload=(_MODULE,)
    ) as pool:

        def ask() -> int:
            pid: int = pool.submit("who?").result().output
            return pid

        def once() -> float:
            seconds = recover(ask(), ask)
            while len(pool.info().replicas) < 2 or not all(r.pid for r in pool.info().replicas):
                time.sleep(0.001)
            return seconds

        yield lambda: {"time": [once() for _ in range(amount)]}


@contextmanager
def forkserver(amount: int) -> Iterator[Round]:
    """A fresh child for each."""
    import multiprocess

    context = multiprocess.get_context("forkserver")
    context.set_forkserver_preload([_MODULE])

    def once() -> float:
        began = time.perf_counter()
        ours, theirs = context.Pipe()
        child = context.Process(target=reply_with_pid, args=(theirs,))
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


def _submit(executor: Any) -> int:
    pid: int = executor.submit(own_pid).result()
    return pid


def rebuilt_pool(
    make: Callable[[], Any], needs: str | None = None, call: Callable[[Any], int] = _submit
) -> Contender:
    """A pool that breaks with its only worker: recovery is a new one."""

    @contextmanager
    def opened(amount: int) -> Iterator[Round]:
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(make())

            def ask() -> int:
                nonlocal pool
                while True:
                    try:
                        return call(pool)
                    except concurrent.futures.BrokenExecutor:
                        stack.close()
                        pool = stack.enter_context(make())

            yield lambda: {"time": [recover(ask(), ask) for _ in range(amount)]}

    return Contender(opened, needs)


def _pebble() -> Any:
    import pebble

    return pebble.ProcessPool(max_workers=1)


def _schedule(pool: Any) -> int:
    import pebble

    while True:
        try:
            pid: int = pool.schedule(own_pid).result()
            return pid
        except pebble.ProcessExpired:  # the dying worker had got it
            continue


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
        "procorch, nothing preloaded": Contender(lambda amount: procorch(amount, preload=())),
        _SPARE: Contender(spare),
        _FORKSERVER: Contender(forkserver, "multiprocess"),
        "ProcessPoolExecutor": rebuilt_pool(lambda: concurrent.futures.ProcessPoolExecutor(1)),
        "pebble": rebuilt_pool(_pebble, "pebble", _schedule),
        "loky": rebuilt_pool(_loky, "loky"),
    },
    goals=(
        Goal("times", (_FORKSERVER,), target=0.4),
        Goal("times", (_FORKSERVER,), stretch=0.1, of=_SPARE),
    ),
    full=Scale(rounds=15, amount=10),
    quick=Scale(rounds=5, amount=5),
    smoke=Scale(rounds=1, amount=1),
    notes=("The forkserver only starts a process; it knows beforehand that one has died.",),
)
