"""Rows 13 and 17 of the fault matrix, and the end of the bridge and of the control plane."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from procorch import AgentCrashed, AgentOrchestrator, Backoff, DefaultSupervisor
from procorch.demo.cluster import LocalCluster, send
from tests.faults.programs import CLOCK, HIDING
from tests.ray.conftest import LEASE, PATIENCE
from tests.ray.nodes import bridges, what_is_left
from tests.ray.work import Account, Beats, beating, is_gone, slow, until

Make = Callable[..., AgentOrchestrator]
Host = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

# Row 13

BEFORE = """
import os, signal, threading
from procorch import AgentOrchestrator, DefaultSupervisor, RayBackend

hides = True
"""
THEN = """
orch = AgentOrchestrator(
    supervisor=DefaultSupervisor(), backend=RayBackend(ADDRESS, lease=LEASE, spread=True)
)
orch.add_agent("a", factory, instances=3)
handle = orch.spawn("a")
handle.deliver("stuck")
handle.deliver("stop")
handle.deliver("go").result()
print("ready", flush=True)
if STATE == "starts":
    orch.add_agent("b", factory)
    orch.spawn("b", wait=False)
    print("starting", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("state", ["works", "starts"])
def test_row_13_nothing_survives_a_program_that_is_killed(
    cluster: LocalCluster, host: Host, state: str
) -> None:
    """After one lease and a second nothing of it is on any node."""
    constants = f"ADDRESS, LEASE, STATE = {cluster.address!r}, {LEASE}, {state!r}\n"
    program = host(constants + BEFORE + HIDING + THEN)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n", program.communicate()
    if state == "starts":
        assert program.stdout.readline() == "starting\n"
    program.kill()
    program.wait()
    assert what_is_left(cluster, time.monotonic() + slow(LEASE + 1)) == []


# Row 17

SETTINGS = """
from procorch import RayBackend

settings = {"backend": RayBackend(ADDRESS, lease=LEASE)}
"""


def test_row_17_the_wall_clock_may_move_by_a_day(cluster: LocalCluster, run_python: Run) -> None:
    """As Python sees it, in the program and in the agent."""
    constants = f"ADDRESS, LEASE = {cluster.address!r}, {LEASE}\n"
    done = run_python(constants + SETTINGS + CLOCK, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


# The bridge


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_bridge_that_ends_or_stands_still_is_replaced_and_so_are_all_agents(
    orchestrator: Make, tmp_path: Path, how: signal.Signals
) -> None:
    """Each request in flight has failed once; the program goes on."""
    orch = orchestrator(supervisor=DefaultSupervisor())
    beats, account = Beats(tmp_path / "beats"), Account()
    orch.add_agent("a", beating(str(beats.path)), instances=2, backoff=Backoff(initial=0))
    handle = orch.spawn("a")
    replies = [account.send(handle, "beat") for _ in range(2)]
    before = {row.pid for row in handle.info().instances}
    for pid in before:
        beats.begun(pid)
    (old,) = bridges()
    send(how, [old])
    for reply in replies:
        error = reply.exception(timeout=PATIENCE)
        assert isinstance(error, AgentCrashed), error
        assert error.lost
        assert error.may_have_executed
    assert account.send(handle, "who?").result(timeout=PATIENCE).output not in before
    for pid in before:
        until(lambda pid=pid: is_gone(pid), f"the agent {pid} lives on", slow(LEASE + 1))
    assert is_gone(old.pid)
    orch.close(drain=False)
    account.close()


# The control plane


def test_a_program_survives_the_restart_of_the_control_plane(
    cluster: LocalCluster, orchestrator: Make
) -> None:
    """Ray's control plane forgets its nodes when it is restarted without a store of its own."""
    orch = orchestrator(supervisor=DefaultSupervisor(), max_restarts=100)
    orch.add_agent("a", beating(os.devnull), backoff=Backoff(initial=0.1, cap=1))
    account, handle = Account(), orch.spawn("a")
    assert account.send(handle, "who?").result(timeout=PATIENCE).output == handle.pid
    cluster.ask("restart_control_plane")
    account.send(handle, "who?").exception(timeout=PATIENCE)
    orch.close(drain=False)
    account.close()
    # A relay that nobody asks any more, because Ray has forgotten it, ends after half a minute.
    assert what_is_left(cluster, time.monotonic() + slow(45)) == []
