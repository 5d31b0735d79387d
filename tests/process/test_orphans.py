"""N20: a worker, and the program as PID 1, reaps what it adopts, and no child of its own code."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import OrchestratedHandle

pytestmark = pytest.mark.fault

PATIENCE = 90.0
Start = Callable[..., OrchestratedHandle]


@pytest.fixture(params=["zygote", "spawn"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PROCORCH_START_METHOD", request.param)
    return str(request.param)


def starter() -> Any:
    """Makes orphans, and children that end long before anybody waits for them."""
    import asyncio
    import ctypes
    import multiprocessing
    import pty
    import signal
    import subprocess
    import threading
    import time

    def zombies() -> list[str]:
        found = []
        with open(f"/proc/self/task/{os.getpid()}/children") as listed:
            children = listed.read().split()
        for pid in children:
            with open(f"/proc/{pid}/stat") as stat:
                text = stat.read()
            if text.rpartition(")")[2].split()[0] == "Z":
                found.append(text)
        return found

    def orphans() -> None:
        for _ in range(10):
            subprocess.run(["sh", "-c", "sleep 0.02 & sleep 0.03"], check=True)

    def ended(pid: int) -> None:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        orphans()  # Time and deaths enough to take it wrongly.

    def code(status: int) -> int:
        return os.waitstatus_to_exitcode(status)

    def popen() -> Any:
        process = subprocess.Popen(["sh", "-c", "exit 7"])
        ended(process.pid)
        return process.wait()

    def popen_beside_another() -> Any:
        """That one could have left it behind, as far as times tell."""
        beside = os.fork()
        if beside == 0:
            time.sleep(60)
            os._exit(0)
        process = subprocess.Popen(["sh", "-c", "exit 7"])
        until = time.monotonic() + 1.5  # more than the grace
        while time.monotonic() < until:
            ended(process.pid)
        os.kill(beside, signal.SIGKILL)
        os.waitpid(beside, 0)
        return process.wait()

    def popen_in_thread() -> Any:
        made: list[Any] = []
        thread = threading.Thread(
            target=lambda: made.append(subprocess.Popen(["sh", "-c", "exit 7"]))
        )
        thread.start()
        thread.join()
        ended(made[0].pid)
        return made[0].wait()

    def fork(forks: Callable[[], int] = os.fork) -> Any:
        earlier = subprocess.Popen(["sleep", "0.05"])  # ends after the start of the next
        pid = forks()
        if pid == 0:
            time.sleep(0.3)
            os._exit(7)
        ended(pid)
        assert earlier.wait() == 0
        return code(os.waitpid(pid, 0)[1])

    def c_fork() -> Any:
        time.sleep(0.05)  # The clock of the kernel's start times has ticks of 0.01 s.
        pid = ctypes.CDLL(None).fork()
        if pid == 0:
            os._exit(7)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return code(os.waitpid(pid, 0)[1])

    def posix_spawn() -> Any:
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], os.environ)
        ended(pid)
        return code(os.waitpid(pid, 0)[1])

    def process() -> Any:
        made = multiprocessing.get_context("fork").Process(target=os._exit, args=(7,))
        made.start()
        assert made.pid is not None
        ended(made.pid)
        made.join()
        return made.exitcode

    async def in_asyncio() -> Any:
        made = await asyncio.create_subprocess_exec("sh", "-c", "exit 7")
        await asyncio.to_thread(orphans)
        return await made.wait()

    def own_handler() -> Any:
        seen: list[int] = []

        def handler(signum: int, frame: Any) -> None:
            seen.append(signum)

        before = signal.signal(signal.SIGCHLD, handler)
        result = popen()
        signal.signal(signal.SIGCHLD, before)
        return result if seen else "no signal"

    def left_further_below() -> Any:
        """The parent of the orphan is no child of the worker, and that one lives on."""
        for _ in range(3):
            script = subprocess.Popen(["sh", "-c", "(sleep 0.05 &); sleep 0.3"])
            while script.poll() is None:
                time.sleep(0.01)  # Handlers of signals run meanwhile.
        until = time.monotonic() + 90
        while zombies() and time.monotonic() < until:
            subprocess.run(["sleep", "0.05"], check=True)  # Its death is a reason to look.
        return 7

    ways: dict[str, Callable[[], Any]] = {
        "popen": popen,
        "popen beside another": popen_beside_another,
        "popen in a thread": popen_in_thread,
        "fork": fork,
        "forkpty": lambda: fork(lambda: os.forkpty()[0]),
        "pty.spawn": lambda: code(pty.spawn(["sh", "-c", "exit 7"])),
        "C fork": c_fork,
        "posix_spawn": posix_spawn,
        "process": process,
        "asyncio": in_asyncio,
        "system": lambda: code(os.system("exit 7")),
        "own handler": own_handler,
        "left further below": left_further_below,
    }

    def handle(way: str) -> Any:
        return zombies() if way == "zombies" else ways[way]()

    return handle


WAYS = (
    "popen", "popen beside another", "popen in a thread", "fork", "forkpty", "pty.spawn",
    "C fork", "posix_spawn", "process", "asyncio", "system", "own handler", "left further below",
)  # fmt: skip


def test_no_exit_status_is_taken_and_no_zombie_stays(method: str, start: Start) -> None:
    handle = start(starter)
    for way in WAYS:
        assert handle.deliver(way, timeout=PATIENCE).result().output == 7, way
        left = handle.deliver("zombies", timeout=PATIENCE).result().output
        assert len(left) <= 1, (way, left)  # One may have been made in the tick of a death.


AS_FIRST = textwrap.dedent("""
    import ctypes, os, subprocess, sys, threading, time
    from procorch import AgentPool

    def zombies():
        with open(f"/proc/self/task/{os.getpid()}/children") as listed:
            children = listed.read().split()
        states = {pid: open(f"/proc/{pid}/stat").read().rpartition(")")[2] for pid in children}
        return {int(pid) for pid, state in states.items() if state.split()[0] == "Z"}

    def code(pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    if __name__ == "__main__":
        if os.getpid() != 1:  # No namespace is allowed here. Then it adopts at least.
            from procorch.worker.orphans import reap_as_first
            ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
            reap_as_first()
        earlier = subprocess.Popen(["sh", "-c", "exit 7"])
        with AgentPool(lambda: lambda item: item, workers=1, start_method=sys.argv[1]) as pool:
            assert pool.map([1]) == [1]
            popen = subprocess.Popen(["sh", "-c", "exit 7"])
            forked = os.fork()
            if forked == 0:
                os._exit(7)
            spawned = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 7"], os.environ)
            own = {earlier.pid, popen.pid, forked, spawned}
            for _ in range(10):
                subprocess.run(["sh", "-c", "true & sleep 0.01"])
                subprocess.run(["sh", "-c", "(sleep 0.05 &); sleep 0.1"])
            until = time.monotonic() + 90
            while zombies() - own and time.monotonic() < until:
                time.sleep(0.05)
            time.sleep(1.5)  # More than the grace of those that are not noted.
            assert zombies() == own, zombies() - own
            assert [popen.wait(), code(forked), code(spawned), earlier.wait()] == [7] * 4
            assert os.waitstatus_to_exitcode(os.system("sleep 0.1; exit 7")) == 7
    print("reaped")
""")


def first_of_a_namespace() -> list[str]:
    """A command before a command, with which that one is PID 1, where this is allowed."""
    for way in (["unshare"], ["unshare", "--map-root-user"], ["sudo", "-n", "unshare"]):
        command = [*way, "--pid", "--fork", "--mount-proc"]
        try:
            if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
                return command
        except FileNotFoundError:
            pass
    return []


def test_the_program_as_pid_1_reaps_what_it_adopts(method: str, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(AS_FIRST)
    command = [*first_of_a_namespace(), sys.executable, "main.py", method]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert ran.stdout == "reaped\n", ran.stderr
