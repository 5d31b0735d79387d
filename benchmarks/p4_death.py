"""P4: a busy worker is killed; how long until its caller has the error.

The kill and the wait are on one thread, so that nothing but the news of the death is measured. Of
the peers those are shown that report a death at all: the caller of a `multiprocessing.Pool` waits
for ever.
"""

from __future__ import annotations

import concurrent.futures
import os
import select
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Scale
from benchmarks.work import Bell, maybe_for_ever, never_done, work_for_ever
from procorch import AgentCrashed, AgentOrchestrator, Backoff, DefaultSupervisor

_BARE = "pidfd of a bare child"


@contextmanager
def bell() -> Iterator[tuple[str, Bell]]:
    """A bell, and its path."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/bell"
        ringing = Bell(path)
        try:
            yield path, ringing
        finally:
            ringing.close()


def kill(pid: int, wait: Callable[[], Any]) -> float:
    """Seconds from the kill until ``wait`` returns."""
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    wait()
    return time.perf_counter() - began


@contextmanager
def procorch(amount: int) -> Iterator[Round]:
    """The future of the request in flight fails; the next kill waits for the next generation."""
    with bell() as (path, ringing), AgentOrchestrator(supervisor=DefaultSupervisor()) as orch:
        orch.add_agent("worker", never_done, backoff=Backoff(initial=0))
        handle = orch.spawn("worker")

        def once() -> float:
            future = handle.deliver(path)
            elapsed = kill(ringing.wait(), future.exception)
            assert isinstance(future.exception(), AgentCrashed)
            handle.deliver("").result()  # a success: the budget of restarts is whole again
            return elapsed

        once()
        yield lambda: {"time": [once() for _ in range(amount)]}


@contextmanager
def bare_child(amount: int) -> Iterator[Round]:
    """What the kernel takes: a forked child, and a poll on its pidfd."""
    with bell() as (path, ringing):

        def once() -> float:
            pid = os.fork()
            if not pid:
                work_for_ever(path)
            ringing.wait()
            pidfd = os.pidfd_open(pid)
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            elapsed = kill(pid, poll.poll)
            os.waitpid(pid, 0)
            os.close(pidfd)
            return elapsed

        once()
        yield lambda: {"time": [once() for _ in range(amount)]}


def broken_pool(make: Callable[[], Any], needs: str | None = None) -> Contender:
    """An executor that breaks when a worker dies: a new one for every kill."""

    @contextmanager
    def opened(amount: int) -> Iterator[Round]:
        with bell() as (path, ringing):

            def once() -> float:
                with make() as executor:
                    future = executor.submit(maybe_for_ever, path)
                    elapsed = kill(ringing.wait(), future.exception)
                    assert future.exception() is not None
                    return elapsed

            once()
            yield lambda: {"time": [once() for _ in range(amount)]}

    return Contender(opened, needs)


@contextmanager
def pebble(amount: int) -> Iterator[Round]:
    """Its pool lives on, as procorch does."""
    import pebble as library

    with bell() as (path, ringing), library.ProcessPool(max_workers=1) as pool:

        def once() -> float:
            future = pool.schedule(maybe_for_ever, args=[path])
            elapsed = kill(ringing.wait(), future.exception)
            assert future.exception() is not None
            return elapsed

        once()
        yield lambda: {"time": [once() for _ in range(amount)]}


def _loky() -> Any:
    import loky

    return loky.ProcessPoolExecutor(1)


ROW = Row(
    id="P4",
    work="SIGKILL of a busy worker until its caller has the error",
    amount="kills",
    metrics={"time": Metric("s")},
    contenders={
        OURS: Contender(procorch),
        _BARE: Contender(bare_child),
        "ProcessPoolExecutor": broken_pool(lambda: concurrent.futures.ProcessPoolExecutor(1)),
        "pebble": Contender(pebble, "pebble"),
        "loky": broken_pool(_loky, "loky"),
    },
    goals=(
        Goal("times", (_BARE,), target=2.5, stretch=1.5),
        Goal("within", target=0.050, tail=True),
    ),
    full=Scale(rounds=15, amount=20),
    quick=Scale(rounds=5, amount=10),
    smoke=Scale(rounds=1, amount=1),
)
