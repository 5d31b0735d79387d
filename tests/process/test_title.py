"""What `ps` shows: which agent, which instance and which generation a process is of."""

from __future__ import annotations

import os
import subprocess

import psutil
import pytest

from procorch import AgentOrchestrator, AgentPool

METHODS = ("zygote", "spawn")


def shown(pid: int | None, what: str) -> str:
    """A column of `ps`."""
    ended = subprocess.run(
        ["ps", "-o", f"{what}=", "-p", str(pid)], capture_output=True, text=True, check=True
    )
    return ended.stdout.strip()


def pid_of():
    return lambda item: os.getpid()


@pytest.mark.parametrize("method", METHODS)
def test_workers_are_named_after_their_agent_instance_and_generation(method: str) -> None:
    with AgentOrchestrator(start_method=method) as orch:
        orch.add_agent("solver", pid_of, instances=2)
        agent = orch.spawn("solver")
        agent.restart()
        rows = agent.info().instances
        assert [row.slot for row in rows] == [0, 1]
        for row in rows:
            which = f"(instance {row.slot}, generation 2)"
            assert shown(row.pid, "args") == f"procorch: solver {which}"
            assert shown(row.pid, "comm") == f"solver#{row.slot}.2"


@pytest.mark.parametrize("name", ["a" * 300, "größe überall", "x) S 1", "two\nlines"])
def test_any_name_is_shown_as_far_as_it_fits_and_harms_nothing(name: str) -> None:
    with AgentOrchestrator() as orch:
        orch.add_agent(name, pid_of)
        handle = orch.spawn(name)
        pid = handle.info().pid
        assert pid is not None
        assert handle.deliver(0).result().output == pid
        line = shown(pid, "args")
        assert line.startswith("procorch: ")
        assert name[:5].split("\n")[0].split(")")[0] in line
        comm = shown(pid, "comm")
        assert comm.endswith("#0.1")
        assert len(comm.encode()) <= 15
        assert psutil.Process(pid).is_running()
        assert psutil.Process(pid).ppid() > 1


def test_the_zygote_says_whose_it_is() -> None:
    with AgentPool(pid_of, 1, start_method="zygote") as pool:
        zygote = psutil.Process(pool.submit(0).result().output).ppid()
        assert shown(zygote, "args") == f"procorch: zygote of process {os.getpid()}"
        assert shown(zygote, "comm") == "procorch-zygote"


@pytest.mark.parametrize("method", METHODS)
def test_what_the_agent_sees_of_its_program_stays(method: str) -> None:
    def factory():
        import sys

        return lambda item: (sys.argv, sys.executable)

    import sys

    with AgentOrchestrator(start_method=method) as orch:
        orch.add_agent("a", factory)
        assert orch.spawn("a").deliver(0).result().output == (sys.argv, sys.executable)


def test_a_process_of_the_agents_own_is_started_as_ever() -> None:
    """By `multiprocessing`, whose child looks at the command line that it was given."""

    def factory():
        import multiprocessing

        def handle(item):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                return pool.apply(len, ("abc",))

        return handle

    with AgentOrchestrator() as orch:
        orch.add_agent("a", factory)
        assert orch.spawn("a").deliver(0).result().output == 3
