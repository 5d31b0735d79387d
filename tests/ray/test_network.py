"""The network between two nodes is cut, so that each believes the other one dead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from procorch import AgentOrchestrator, DefaultSupervisor, RayBackend
from tests.ray.conftest import LEASE, NetworkCluster
from tests.ray.test_nodes import REPLACED, Scene
from tests.ray.work import BEAT, Beats, is_gone, slow, until

Make = Callable[..., AgentOrchestrator]


@pytest.fixture
def backend(networked: NetworkCluster) -> RayBackend:
    """Agents on a cluster whose network can be cut."""
    return RayBackend(networked.address, lease=LEASE, spread=True)


def test_an_agent_behind_a_network_that_is_cut_ends_before_another_one_begins(
    networked: NetworkCluster, orchestrator: Make, tmp_path: Path
) -> None:
    """Nobody can tell it to end: its lease does. When the network is back, it stays lost."""
    scene = Scene(
        networked, orchestrator(supervisor=DefaultSupervisor()), Beats(tmp_path / "beats")
    )
    pid = scene.lost.pid or 0
    networked.network.cut(scene.victim.name)
    try:
        found = scene.is_lost()
        last = scene.beats.times(pid)[-1]
        assert last < scene.harmed + LEASE + 1
        assert last < found + BEAT
        assert is_gone(pid)
        assert scene.is_replaced() - scene.harmed < slow(REPLACED)
    finally:
        networked.network.mend(scene.victim.name)
    until(lambda: len(scene.handle.info().instances) == 3, "an instance is missing")
    scene.close()


def test_a_network_that_is_away_for_a_moment_costs_nothing(
    networked: NetworkCluster, orchestrator: Make, tmp_path: Path
) -> None:
    scene = Scene(
        networked, orchestrator(supervisor=DefaultSupervisor()), Beats(tmp_path / "beats")
    )
    networked.network.cut(scene.victim.name)
    pid, times = scene.lost.pid or 0, len(scene.beats.times(scene.lost.pid or 0))
    until(lambda: len(scene.beats.times(pid)) > times + LEASE / 4 / BEAT, "the agent has ended")
    networked.network.mend(scene.victim.name)
    mended = scene.beats.times(pid)[-1]
    until(lambda: scene.beats.times(pid)[-1] > mended + LEASE + 1, "the agent has ended")
    assert not any(reply.done() for reply in scene.replies)
    scene.close()
