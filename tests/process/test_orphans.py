"""N20: a worker reaps what it adopts, and leaves the children of its agent's code to that code."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from procorch import OrchestratedHandle

pytestmark = pytest.mark.fault

PATIENCE = 30.0
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

    ways: dict[str, Callable[[], Any]] = {
        "popen": popen,
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
    }

    def handle(way: str) -> Any:
        return zombies() if way == "zombies" else ways[way]()

    return handle


WAYS = (
    "popen", "popen in a thread", "fork", "forkpty", "pty.spawn", "C fork", "posix_spawn",
    "process", "asyncio", "system", "own handler",
)  # fmt: skip


def test_no_exit_status_is_taken_and_no_zombie_stays(method: str, start: Start) -> None:
    handle = start(starter)
    for way in WAYS:
        assert handle.deliver(way, timeout=PATIENCE).result().output == 7, way
        left = handle.deliver("zombies", timeout=PATIENCE).result().output
        assert len(left) <= 1, (way, left)  # One may have been made in the tick of a death.
