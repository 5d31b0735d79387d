"""Nodes that are killed, frozen and added, under agents that work."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from procorch import (
    AgentCrashed,
    AgentOrchestrator,
    Backoff,
    DefaultSupervisor,
    NodeJoined,
    NodeLost,
    OrchestratedHandle,
    StartError,
    run_batch,
)
from procorch.demo.cluster import LocalCluster, send
from tests.process.scenes import Aside
from tests.ray.conftest import LEASE, NODES, PATIENCE
from tests.ray.nodes import of_ray
from tests.ray.work import BEAT, Account, Beats, beating, is_gone, slow, until

REPLACED = 10.0  # seconds from the fault to an answer of the next generation

Make = Callable[..., AgentOrchestrator]
Freeze = Callable[[list[psutil.Process]], None]


class Scene:
    """Instances of one agent, each on a node of its own and at work, and a node to be harmed: it
    has an instance, and not the program."""

    def __init__(self, cluster: LocalCluster, orch: AgentOrchestrator, beats: Beats) -> None:
        self.orch, self.beats = orch, beats
        self.events = orch.events()
        orch.add_agent(
            "a", beating(str(beats.path)), instances=NODES, backoff=Backoff(initial=0),
            placement="spread",
        )  # fmt: skip
        self.handle: OrchestratedHandle = orch.spawn("a")
        self.account = Account()
        self.replies = [self.account.send(self.handle, "beat") for _ in range(NODES)]
        rows = self.handle.info().instances
        assert len({row.node for row in rows}) == NODES
        for row in rows:
            beats.begun(row.pid)
        self.victim = cluster.nodes[-1]
        (self.lost,) = [row for row in rows if self.victim.has(row.pid or 0)]
        self.others = [row for row in rows if row is not self.lost]
        self.harmed = time.monotonic()

    def is_lost(self) -> float:
        """The request on the harmed node has failed, and no other one; returns when."""
        until(lambda: any(reply.done() for reply in self.replies), "no request has failed")
        (reply,) = [reply for reply in self.replies if reply.done()]
        at = time.monotonic()
        error = reply.exception()
        assert isinstance(error, AgentCrashed), error
        assert error.lost
        assert (error.node, error.pid) == (self.lost.node, self.lost.pid)
        assert error.may_have_executed
        assert error.is_retryable
        assert self.lost.node is not None
        assert self.lost.node[:8] in str(error)
        lost = next(event for event in self.events if isinstance(event, NodeLost))
        assert lost.node == self.lost.node
        return at

    def is_replaced(self) -> float:
        """The harmed instance answers on another node, and no other was replaced; returns when."""
        assert self.account.send(self.handle, "who?").result(timeout=PATIENCE).output
        at = time.monotonic()
        row = self.handle.info().instances[self.lost.slot]
        assert row.generation == 2
        assert row.node in {other.node for other in self.others}
        for other in self.others:
            assert self.handle.info().instances[other.slot].pid == other.pid
        return at

    def close(self) -> None:
        """Each request had one outcome."""
        self.orch.close(drain=False)
        self.account.close()


@pytest.fixture
def scene(cluster: LocalCluster, orchestrator: Make, tmp_path: Path) -> Scene:
    """Work on three nodes."""
    return Scene(cluster, orchestrator(supervisor=DefaultSupervisor()), Beats(tmp_path / "beats"))


def test_a_killed_node_costs_its_request_one_attempt_and_is_replaced_elsewhere(
    cluster: LocalCluster, scene: Scene
) -> None:
    cluster.kill(scene.victim)
    scene.is_lost()
    assert scene.is_replaced() - scene.harmed < slow(REPLACED)
    scene.close()


def test_a_raylet_that_is_killed_alone_takes_its_agents_along(
    cluster: LocalCluster, scene: Scene
) -> None:
    """Ray takes longer to notice that, and its workers are in no hurry to end."""
    (raylet,) = [each for each in scene.victim.processes() if each.name() == "raylet"]
    send(signal.SIGKILL, [raylet])
    until(lambda: any(reply.done() for reply in scene.replies), "no request has failed")
    assert is_gone(scene.lost.pid or 0)
    scene.is_replaced()
    scene.close()
    cluster.kill(scene.victim)


def test_on_a_frozen_node_the_kernel_ends_the_agent_before_another_one_begins(
    scene: Scene, frozen: Freeze
) -> None:
    """The raylet and the relay stand still; the agent does not, and would work for ever."""
    frozen(of_ray(scene.victim))
    pid = scene.lost.pid or 0
    found = scene.is_lost()
    last = scene.beats.times(pid)[-1]
    assert last < scene.harmed + LEASE + 1
    assert last < found + BEAT
    assert is_gone(pid)
    assert scene.is_replaced() - scene.harmed < slow(REPLACED)
    scene.close()


def test_an_agent_whose_zygote_stands_still_is_lost(
    orchestrator: Make, cluster: LocalCluster, frozen: Freeze, tmp_path: Path
) -> None:
    """Its relay does not, and knows that nobody else has killed the zygote."""
    orch = orchestrator(supervisor=DefaultSupervisor())
    account, beats = Account(), Beats(tmp_path / "beats")
    orch.add_agent("a", beating(str(beats.path)), backoff=Backoff(initial=0))
    handle = orch.spawn("a")
    reply = account.send(handle, "beat")
    beats.begun(handle.pid)
    frozen(psutil.Process(handle.pid).parents()[:1])
    error = reply.exception(timeout=PATIENCE)
    assert isinstance(error, AgentCrashed), error
    assert error.lost
    assert error.may_have_executed
    assert "because its lease had ended" in str(error)
    orch.close(drain=False)
    account.close()


def test_an_agent_on_a_node_that_thaws_does_nothing_more(scene: Scene, frozen: Freeze) -> None:
    """The whole node stood still for longer than a lease, as a machine that is suspended does."""
    processes = scene.victim.processes()
    frozen(processes)
    pid = scene.lost.pid or 0
    scene.is_lost()
    before = len(scene.beats.times(pid))
    assert scene.is_replaced() - scene.harmed < slow(REPLACED)
    send(signal.SIGCONT, processes)
    until(lambda: is_gone(pid), f"the agent {pid} lives on a node that has thawed", slow(LEASE + 1))
    assert len(scene.beats.times(pid)) - before <= LEASE / BEAT
    scene.close()


def test_a_short_pause_of_a_node_costs_nothing(scene: Scene, frozen: Freeze) -> None:
    """One within the lease: the same processes work on, and no request has failed."""
    processes = scene.victim.processes()
    frozen(processes)
    until(lambda: time.monotonic() > scene.harmed + LEASE / 4, "time stands still")
    send(signal.SIGCONT, processes)
    thawed, pid = time.monotonic(), scene.lost.pid or 0
    until(lambda: scene.beats.times(pid)[-1] > thawed + LEASE + 1, "the agent has ended")
    assert not any(reply.done() for reply in scene.replies)
    assert scene.handle.info().instances[scene.lost.slot].generation == 1
    scene.close()


def test_requests_wait_until_a_node_joins_that_has_room(
    cluster: LocalCluster, orchestrator: Make
) -> None:
    orch = orchestrator(supervisor=DefaultSupervisor())
    events = orch.events()
    orch.add_agent("a", lambda: lambda x: x, resources={"shiny": 1}, start_timeout=PATIENCE)
    handle = orch.spawn("a", wait=False)
    account = Account()
    replies = [account.send(handle, number) for number in range(5)]
    until(lambda: "shiny" in (handle.info().waiting or ""), "it does not say what it waits for")
    assert handle.info().state == "WAITING"
    node = cluster.add({"shiny": 1})
    assert [reply.result(timeout=PATIENCE).output for reply in replies] == list(range(5))
    assert node.has(handle.pid or 0)
    assert handle.info().waiting is None
    joined = next(event for event in events if isinstance(event, NodeJoined))
    assert joined.node == handle.info().node
    orch.close()
    account.close()


def test_what_fits_nowhere_ends_after_its_start_timeout_and_says_what_is_missing(
    orchestrator: Make,
) -> None:
    orch = orchestrator()
    orch.add_agent("small", lambda: lambda x: x)
    orch.spawn("small")  # now there is a connection to the cluster
    orch.add_agent("a", lambda: lambda x: x, resources={"num_gpus": 3}, start_timeout=5)
    with pytest.raises(StartError, match="num_gpus=3") as raised:
        orch.spawn("a")
    assert raised.value.phase == "placement"


def test_a_lost_node_costs_the_items_in_flight_one_attempt_each_by_name(
    cluster: LocalCluster, backend: Any, tmp_path: Path
) -> None:
    """The journal is here, and every item has one outcome in it."""
    work = beating(str(tmp_path / "beats"))
    stuck = {f"stuck-{number}" for number in range(NODES)}

    def factory():
        agent, beats_once = work(), str(tmp_path)

        def handle(item):
            import os

            if item.startswith("stuck"):
                try:
                    os.close(os.open(f"{beats_once}/{item}", os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    return item  # in the second attempt
                agent("beat")
            return item

        return handle

    # Each instance has one that is stuck, and all others wait.
    items = [*sorted(stuck), *(f"item-{number}" for number in range(20))]
    beats = Beats(tmp_path / "beats")

    def harm() -> None:
        until(lambda: len(beats.pids()) == NODES, "not all have begun")
        victim = cluster.nodes[-1]
        (pid,) = [pid for pid in beats.pids() if victim.has(pid)]
        cluster.kill(victim)
        for other in beats.pids() - {pid}:  # they are only to end now
            psutil.Process(other).kill()

    with run_batch(
        factory, items, out=tmp_path / "run.db", workers=NODES, retries=1, backend=backend,
        id=str, placement="spread", prefetch=1,
    ) as batch:  # fmt: skip
        harmed = Aside(harm)
        outcomes = {item.id: item for item in batch}
        harmed.result()
    assert set(outcomes) == set(items)
    assert all(item.ok for item in outcomes.values())
    attempts = {id: item.attempts for id, item in outcomes.items()}
    assert {id for id, number in attempts.items() if number == 2} == stuck
    assert all(number == 1 for id, number in attempts.items() if id not in stuck)
