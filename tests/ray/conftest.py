"""What the tests on a Ray cluster share: one cluster for all of them, with three nodes before each.

Ray itself is never imported here. After each test no agent, relay or bridge may be left, neither on
a node nor beside this process.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from procorch import AgentOrchestrator, RayBackend
from procorch.demo.cluster import LocalCluster, NodeNotStarted, is_alive, send
from procorch.launch.ray.launcher import RayLauncher
from tests.process import test_launchers
from tests.process.conftest import gate, host, run_python, start, watched
from tests.process.test_launchers import MAX_FRAME, Told
from tests.ray import network
from tests.ray.nodes import is_whole, shown, what_is_left

__all__ = ["gate", "host", "run_python", "start", "watched"]

# What `tox -e ray-quick` runs.
QUICK = {
    "test_a_killed_node_costs_its_request_one_attempt_and_is_replaced_elsewhere",
    "test_an_exit_says_how_and_what_the_worker_had_begun[_exit 7---]",
    "test_an_exit_says_how_and_what_the_worker_had_begun[signal SIGSEGV---]",
    "test_frames_go_both_ways_in_order_whatever_their_size",
    "test_on_a_frozen_node_the_kernel_ends_the_agent_before_another_one_begins",
    "test_row_13_nothing_survives_a_program_that_is_killed[works]",
}

NODES, CPUS = 3, 4
PATIENCE = 120.0  # seconds that a test waits for what must come: starts take seconds here
LEASE = 4.0  # seconds: the default, which a busy machine can keep
GONE = 10.0  # seconds until nothing is left


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of `QUICK`."""
    for item in items:
        if item.name in QUICK:
            item.add_marker(pytest.mark.quick)


class AttentiveCluster(LocalCluster):
    """A cluster that soon notices when a process of Ray has died: after 2.5 s, and not after 15 s.
    A frozen node, which answers nothing, counts as alive for nearly a minute as ever."""

    def set_up(self) -> dict[str, str]:
        """See `LocalCluster.set_up`."""
        return super().set_up() | {"RAY_health_check_period_ms": "500"}


class NetworkCluster(AttentiveCluster):
    """A cluster whose nodes have a network namespace each; programs run in that of the head."""

    def __init__(self, nodes: int, *, cpus: int) -> None:
        self.network = network.Network()
        try:
            super().__init__(nodes, cpus=cpus)
        except BaseException:
            self.network.close()
            raise

    def set_up(self) -> dict[str, str]:
        """See `LocalCluster.set_up`: on loopback no node would find the others."""
        return super().set_up() | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}

    def place(self, name: str) -> dict[str, Any]:
        """See `LocalCluster.place`."""
        return {
            "node_ip_address": self.network.address(name),
            "namespace": self.network.path(name),
        }

    def close(self) -> None:
        """See `LocalCluster.close`."""
        super().close()
        self.network.close()


class Clusters:
    """The cluster of the session, one at a time, because each costs seconds and memory."""

    def __init__(self) -> None:
        self._kind: type[LocalCluster] | None = None
        self._current: LocalCluster | None = None

    def get(self, kind: type[LocalCluster]) -> LocalCluster:
        """A cluster of that kind with three nodes, as new or repaired."""
        if self._current is not None and (self._kind is not kind or not _repair(self._current)):
            self.close()
        if self._current is None:
            self._kind = kind
            self._current = kind(NODES, cpus=CPUS)
        return self._current

    def close(self) -> None:
        """End the cluster; idempotent."""
        if self._current is not None:
            self._current.close()
            self._current = None


def _repair(cluster: LocalCluster) -> bool:
    """Bring it back to three nodes, which Ray knows of, and of no others; False: that failed."""
    if not cluster.nodes or not is_whole(cluster.head, head=True):
        return False
    for node in cluster.nodes[1:]:
        if not is_whole(node) or len(cluster.nodes) > NODES:
            cluster.kill(node)
    while len(cluster.nodes) < NODES:
        cluster.add()
    try:
        cluster.settle()
    except NodeNotStarted:
        return False
    return True


@pytest.fixture(scope="session")
def clusters() -> Iterator[Clusters]:
    """The cluster of the session."""
    made = Clusters()
    yield made
    made.close()


@pytest.fixture
def cluster(clusters: Clusters) -> Iterator[LocalCluster]:
    """A cluster of three nodes on loopback; nothing of procorch may be left on any of them."""
    yield from _guarded(clusters.get(AttentiveCluster))


@pytest.fixture
def networked(clusters: Clusters) -> Iterator[NetworkCluster]:
    """The same in network namespaces; this process is in that of the head."""
    reason = network.why_not()
    if reason is not None:
        pytest.skip(reason)
    cluster = clusters.get(NetworkCluster)
    assert isinstance(cluster, NetworkCluster)
    with cluster.network.inside(cluster.head.name):
        yield from _guarded(cluster)


def _guarded(cluster: LocalCluster) -> Iterator[Any]:
    before = set(psutil.Process().children())
    threads = set(threading.enumerate())
    with cluster.entered():
        yield cluster
    deadline = time.monotonic() + GONE
    for thread in set(threading.enumerate()) - threads:
        if thread.name.startswith("procorch-"):
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), f"thread {thread.name} is left"
    left = what_is_left(cluster, deadline)
    left += [shown(each) for each in set(psutil.Process().children()) - before if is_alive(each)]
    if left:
        pytest.fail("the test left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def frozen() -> Iterator[Callable[[list[psutil.Process]], None]]:
    """Stop processes; at the end of the test they go on."""
    stopped: list[psutil.Process] = []

    def freeze(processes: list[psutil.Process]) -> None:
        stopped.extend(processes)
        send(signal.SIGSTOP, processes)

    yield freeze
    send(signal.SIGCONT, stopped)


@pytest.fixture
def backend(cluster: LocalCluster) -> RayBackend:
    """Agents on the cluster, on different nodes, with a short lease."""
    return RayBackend(cluster.address, lease=LEASE, spread=True)


@pytest.fixture
def orchestrator(backend: RayBackend) -> Iterator[Callable[..., AgentOrchestrator]]:
    """Make orchestrators; what is still running at the end of the test is aborted."""
    made: list[AgentOrchestrator] = []

    def make(**settings: Any) -> AgentOrchestrator:
        made.append(AgentOrchestrator(**{"backend": backend, **settings}))
        return made[-1]

    yield make
    for each in made:
        each.close(drain=False)


@pytest.fixture(scope="module")
def launcher(clusters: Clusters) -> Iterator[Told]:
    """A launcher without a monitor (tests/process/test_launchers.py), with one bridge for all."""
    cluster = clusters.get(AttentiveCluster)
    with cluster.entered():
        sink = Told(RayLauncher(RayBackend(cluster.address, lease=LEASE), MAX_FRAME, []))
        sink.ready(lambda: lambda x: x)  # now there is a bridge
        sink.end_all()
        yield sink
        sink.close()


@pytest.fixture
def told(launcher: Told, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """The same, without workers before and after."""
    monkeypatch.setattr(test_launchers, "PATIENCE", PATIENCE)
    launcher.events.clear()
    yield launcher
    launcher.end_all()
