"""Where a worker runs: the processors that it may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from procorch import AgentOrchestrator, AgentPool, StartError
from procorch.supervision.settings import AgentSettings

Orchestrator = Callable[..., AgentOrchestrator]


def used() -> Any:
    def handle(item):
        import os
        import subprocess

        child = subprocess.run(["taskset", "-cp", str(os.getpid())], capture_output=True, text=True)
        return sorted(os.sched_getaffinity(0)), child.returncode

    return handle


@pytest.mark.parametrize("method", ["zygote", "spawn"])
def test_a_worker_uses_the_processors_that_it_was_given(
    orchestrator: Orchestrator, method: str
) -> None:
    mine = sorted(os.sched_getaffinity(0))
    orch = orchestrator(start_method=method)
    orch.add_agent("one", used, cpus=[mine[-1]])
    orch.add_agent("text", used, cpus=str(mine[0]))
    orch.add_agent("all", used)
    for name, expected in {"one": [mine[-1]], "text": [mine[0]], "all": mine}.items():
        handle = orch.spawn(name)
        assert handle.deliver(0).result().output[0] == expected
        handle.restart()
        assert handle.deliver(0).result().output[0] == expected
    assert sorted(os.sched_getaffinity(0)) == mine, "the program's own are as before"


def test_replicas_of_a_pool_share_them() -> None:
    last = max(os.sched_getaffinity(0))
    with AgentPool(used, workers=2, cpus=[last]) as pool:
        assert [each[0] for each in pool.map(range(4))] == [[last]] * 4


def test_processors_that_the_program_may_not_use_are_refused_when_it_is_added() -> None:
    orch = AgentOrchestrator()
    with pytest.raises(ValueError, match="this program may not use processor 4095, but only"):
        orch.add_agent("a", used, cpus=[0, 4095])
    assert orch.names() == []


def test_processors_that_are_taken_away_later_fail_the_start(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    orch = orchestrator()
    with monkeypatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda pid: {4000})
        orch.add_agent("a", used, cpus=[4000])
    with pytest.raises(StartError) as caught:
        orch.spawn("a")
    assert caught.value.phase == "settings"


def test_the_ways_to_write_them() -> None:
    for given in ("0-2,5", " 5, 0 - 2", [5, 2, 1, 0, 0], {0, 1, 2, 5}, range(3) and (0, 1, 2, 5)):
        assert AgentSettings.of({"cpus": given}).cpus == (0, 1, 2, 5)
    assert AgentSettings.of({"cpus": None}).cpus is None
    for wrong in (3, {"0": 1}, b"0", True):
        with pytest.raises(TypeError, match="cpus"):
            AgentSettings.of({"cpus": wrong})
