"""Settings of a worker's process, and its replacement between requests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from procorch import AgentFailure, AgentOrchestrator, AgentPool, StartError


def pid_factory():
    def handle(item):
        return os.getpid()

    return handle


def test_a_pool_recycles_its_workers_and_loses_no_item():
    with AgentPool(pid_factory, 2, max_requests=5) as pool:
        outcomes = pool.map(range(60), outcomes=True)
    assert all(outcome.ok for outcome in outcomes)
    served = [outcome.output for outcome in outcomes]
    assert len(set(served)) >= 12
    assert max(map(served.count, set(served))) <= 5


def test_an_agent_gets_its_environment_its_directory_and_its_nice_value(tmp_path: Path):
    def factory():
        seen = os.environ["GREETING"], os.getcwd(), os.nice(0)
        return lambda item: seen

    with AgentOrchestrator() as orch:
        orch.add_agent("a", factory, env={"GREETING": "hello"}, cwd=tmp_path, priority=5)
        seen = orch.spawn("a").deliver(0).result().output
    assert seen == ("hello", str(tmp_path), os.nice(0) + 5)
    assert "GREETING" not in os.environ


def test_a_directory_that_is_not_there_is_a_start_error_that_names_it(tmp_path: Path):
    with AgentOrchestrator() as orch:
        orch.add_agent("a", pid_factory, cwd=str(tmp_path / "gone"))
        with pytest.raises(StartError, match="gone"):
            orch.spawn("a")


def test_more_address_space_than_granted_is_a_memory_error_and_the_worker_lives():
    def factory():
        def handle(item):
            return os.getpid() if item is None else len(bytearray(item))

        return handle

    with AgentOrchestrator() as orch:
        orch.add_agent("a", factory, address_space_limit="1G")
        agent = orch.spawn("a")
        pid = agent.deliver(None).result().output
        with pytest.raises(AgentFailure, match="MemoryError"):
            agent.deliver(4 << 30).result()
        assert agent.deliver(None).result().output == pid


def test_an_agent_that_is_too_old_gets_a_new_process_and_keeps_its_queue():
    with AgentOrchestrator() as orch:
        orch.add_agent("a", pid_factory, max_age="100ms")
        events = orch.monitor("a")
        agent = orch.spawn("a")
        first = agent.deliver(0).result().output
        for event in events:
            if type(event).__name__ == "Ready" and event.generation == 2:
                break
        assert agent.deliver(0).result().output != first
        assert agent.info().restarts == 0


HEALTHY = """
import os
from procorch import AgentOrchestrator, AgentPool


def factory():
    return lambda item: bytearray(item) and os.getpid()


with AgentPool(factory, 2, max_requests=2, warm_spares=1) as pool:
    print(len({outcome.output for outcome in pool.map([1] * 10, outcomes=True)}) > 2)
    pool.resize(1)
with AgentOrchestrator() as orch:
    for name, limit in (("big", {"max_memory": "40M"}), ("old", {"max_age": "50ms"})):
        orch.add_agent(name, factory, **limit)
        events = orch.monitor(name)
        agent = orch.spawn(name)
        agent.deliver(100 << 20).result()
        print(next(event.planned for event in events if type(event).__name__ == "Restarting"))
    agent.restart()
    agent.cancel()
"""


def test_a_run_in_which_nothing_fails_prints_nothing():
    """Every planned event is quieter than the warnings that Python shows by default."""
    ended = subprocess.run(
        [sys.executable, "-c", HEALTHY], capture_output=True, text=True, timeout=50, check=False
    )
    assert (ended.stdout.split(), ended.stderr) == (["True"] * 3, "")
