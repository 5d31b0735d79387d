"""P6: a thousand idle agents.

The reference is a thousand forked children that answer on a socket and do nothing else. Each agent
has answered once before the start counts as done.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Samples, Scale
from benchmarks.work import answerer
from procorch import AgentOrchestrator

_BARE = "bare forked children"
_WINDOW = 3.0
"""Seconds over which idle processors are watched."""

MIB = 1 << 20


def raise_limits() -> None:
    """As many descriptors as the system lets a user have: each agent takes some."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Census:
    """What this process had before it started anything, and what has come since."""

    def __init__(self) -> None:
        self._me = psutil.Process()
        self._fds, self._threads = self._me.num_fds(), self._me.num_threads()
        self._pss = self._me.memory_full_info().pss

    def take(self, agents: set[int], window: float) -> Samples:
        """Figures while nothing happens.

        Args:
            agents: the pids of the agents; other descendants are helpers.
            window: seconds for which the processors are watched.
        """
        count = len(agents)
        below = self._me.children(recursive=True)
        helpers = [process for process in below if process.pid not in agents]
        before_agents = _cpu(below)
        before, began = time.process_time(), time.perf_counter()
        time.sleep(window)
        spent, elapsed = time.process_time() - before, time.perf_counter() - began
        return {
            "idle cpu of the parent": [100 * spent / elapsed],
            "idle cpu of its processes": [100 * (_cpu(below) - before_agents) / elapsed],
            "memory per agent": [
                (sum(map(_pss, below)) + self._me.memory_full_info().pss - self._pss) / count
            ],
            "descriptors per agent": [(self._me.num_fds() - self._fds) / count],
            "descriptors per agent, helpers": [sum(p.num_fds() for p in helpers) / count],
            "threads": [float(self._me.num_threads() - self._threads)],
        }


def _pss(process: psutil.Process) -> int:
    pss: int = process.memory_full_info().pss
    return pss


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (p.cpu_times() for p in processes))


def measure(count: int, start: Callable[[], set[int]], stop: Callable[[], None]) -> Samples:
    """One round: start all, watch them, stop all."""
    census = Census()
    began = time.perf_counter()
    agents = start()
    started = time.perf_counter() - began
    assert len(agents) == count
    samples = census.take(agents, min(_WINDOW, count / 100))
    began = time.perf_counter()
    stop()
    return {"start": [started], **samples, "stop": [time.perf_counter() - began]}


def populate(orchestrator: AgentOrchestrator, count: int) -> set[int]:
    """Start so many agents; each has answered when this returns.

    Returns:
        Their pids.
    """
    names = [f"agent-{number}" for number in range(count)]
    for name in names:
        orchestrator.add_agent(name, answerer)
    handles = [orchestrator.spawn(name, wait=False) for name in names]
    for future in [handle.submit("ready?") for handle in handles]:
        future.result()
    return {handle.pid for handle in handles if handle.pid is not None}


@contextmanager
def procorch(count: int) -> Iterator[Round]:
    """One orchestrator."""
    raise_limits()

    def once() -> Samples:
        with contextlib.ExitStack() as stack:
            orchestrator = stack.enter_context(AgentOrchestrator())
            return measure(count, lambda: populate(orchestrator, count), orchestrator.close)

    yield once


@contextmanager
def bare_children(count: int) -> Iterator[Round]:
    """Forked from this process, one by one."""
    raise_limits()
    children: dict[int, socket.socket] = {}

    def start() -> set[int]:
        for _ in range(count):
            ours, theirs = socket.socketpair()
            pid = os.fork()
            if not pid:
                while theirs.recv(1):
                    theirs.send(b"!")
                os._exit(0)
            theirs.close()
            children[pid] = ours
        for sock in children.values():
            sock.send(b"?")
        for sock in children.values():
            sock.recv(1)
        return set(children)

    def stop() -> None:
        for pid in children:
            os.kill(pid, signal.SIGTERM)
        for pid, sock in children.items():
            os.waitpid(pid, 0)
            sock.close()
        children.clear()

    yield lambda: measure(count, start, stop)


ROW = Row(
    id="P6",
    work="1,000 idle agents",
    amount="agents",
    metrics={
        "start": Metric("s"),
        "idle cpu of the parent": Metric("%"),
        "idle cpu of its processes": Metric("%"),
        "memory per agent": Metric("B"),
        "descriptors per agent": Metric(""),
        "descriptors per agent, helpers": Metric(""),
        "threads": Metric(""),
        "stop": Metric("s"),
    },
    contenders={OURS: Contender(procorch), _BARE: Contender(bare_children)},
    goals=(
        Goal("within", metric="start", target=15.0),
        Goal("within", metric="idle cpu of the parent", target=1.0),
        Goal("within", metric="memory per agent", target=5.0 * MIB),
        Goal("within", metric="descriptors per agent", target=4.0),
        Goal("within", metric="threads", target=10.0),
        Goal("within", metric="stop", target=2.0),
    ),
    full=Scale(rounds=3, amount=1_000),
    quick=Scale(rounds=1, amount=1_000),
    smoke=Scale(rounds=1, amount=3),
    notes=(
        "Memory is the proportional set size of all processes below the parent, and what the "
        "parent has grown by, divided by the number of agents. Threads are those that the parent "
        "has gained: a fixed number, whatever the number of agents.",
        "Descriptors are the parent's; those of its helpers (the zygote) stand beside.",
    ),
)
