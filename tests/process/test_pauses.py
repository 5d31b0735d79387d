"""Time in which the supervisor did not run does not count, and what came meanwhile is read first
(N22)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from procorch import clock as clocks
from procorch.clock import Clock
from procorch.runtime.loop import Loop
from procorch.supervision.timers import Timers

PATIENCE = 90.0

# ---- the clock


class Sleep:
    """Stands for `select.epoll`: each poll takes as long as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.extra: list[float] = []
        monkeypatch.setattr(clocks.time, "monotonic", lambda: self.now)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        assert timeout is not None
        self.now += timeout + (self.extra.pop(0) if self.extra else 0.0)
        return []


def test_what_a_sleep_takes_beyond_its_length_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sleep, clock = Sleep(monkeypatch), Clock()
    sleep.extra = [0.0, 3600.0]
    begun = clock.now()
    clock.select(sleep, begun + 2.0, lambda: None)
    assert 2.0 <= clock.now() - begun < 2.2
    assert sleep.now - 100.0 == pytest.approx(3602.0, abs=0.3)


def test_ordinary_delays_count(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep, clock = Sleep(monkeypatch), Clock()
    sleep.extra = [0.15] * 100
    begun = clock.now()
    clock.select(sleep, begun + 2.0, lambda: None)
    assert sleep.now - 100.0 < 2.3


def test_other_threads_see_no_pause_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller may be the first that runs again."""
    sleep, clock = Sleep(monkeypatch), Clock()
    begun, seen = clock.now(), []

    class Interrupted(Sleep):
        def poll(self, timeout: float | None) -> list[tuple[int, int]]:
            super().poll(timeout)
            sleep.now = self.now + 60.0
            seen.append(clock.now() - begun)
            return [(1, 1)]

    monkeypatch.undo()
    other = Interrupted(monkeypatch)
    monkeypatch.setattr(clocks.time, "monotonic", lambda: max(other.now, sleep.now))
    clock.select(other, begun + 2.0, lambda: None)
    assert seen[0] < 0.5


def test_a_sleep_without_an_end_is_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep, clock = Sleep(monkeypatch), Clock()
    begun = clock.now()

    class Long:
        def poll(self, timeout: float | None) -> list[tuple[int, int]]:
            assert timeout is None
            sleep.now += 3600.0
            return [(1, 1)]

    clock.select(Long(), None, lambda: None)
    assert clock.now() - begun == 3600.0


# ---- the loop


class Late(Clock):
    """Its sleeps end after everything that was due, and see nothing of what has come."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def select(self, descriptors: Any, until: float | None, wake: Callable[[], None]) -> list[Any]:
        self.at = 1000.0
        return []


def test_what_is_readable_is_read_before_anything_expires() -> None:
    clock, seen = Late(), []
    timers: Timers[str] = Timers()
    timers.arm("machine", 1.0)
    loop: Loop[int] = Loop(clock, timers)
    ours, theirs = socket.socketpair()
    with contextlib.closing(ours), contextlib.closing(theirs):
        theirs.send(b"reply")
        loop.watch(ours.fileno(), lambda: seen.append(ours.recv(1) and "read"))
        loop.call_later(1.0, lambda: seen.append("expired"))
        loop.wait(lambda: None, lambda: seen.append("machine"))
        assert seen == ["read"] * 5 + ["expired", "machine"]
        loop.unwatch(ours.fileno())
        loop.close()


# ---- programs that are stopped


PROGRAM = textwrap.dedent("""
    import os, sys, time
    from procorch import AgentOrchestrator, AgentPool

    def line(*words):
        os.write(1, (" ".join(map(str, words)) + chr(10)).encode())

    def factory():
        def work(seconds):
            line("begun", os.getpid())
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.05)
            return "done"
        return work
""")


@pytest.fixture
def stopped(tmp_path: Any) -> Iterator[Callable[..., list[str]]]:
    """Run a program, stop it at its first line for a while, let it go on; what it printed since."""
    running: list[subprocess.Popen[str]] = []

    def run(text: str, seconds: float, *, worker: bool = False) -> list[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM + textwrap.dedent(text)],
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        first = process.stdout.readline().split()
        pids = [process.pid, *([int(first[1])] if worker else [])]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        threading.Event().wait(seconds)  # the pause itself
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        out, _ = process.communicate(timeout=PATIENCE)
        return out.splitlines()

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_a_reply_that_came_while_the_program_was_stopped_is_no_timeout(stopped: Any) -> None:
    assert stopped(
        """
        with AgentOrchestrator() as orch:
            orch.add_agent("a", factory)
            handle = orch.spawn("a")
            replies = [handle.submit(0.5, timeout=2.0), handle.submit(0.1, timeout=2.0)]
            line(*[reply.result().text for reply in replies])
        """,
        3.0,
    ) == [ANY_BEGUN, "done done"]


def test_a_caller_that_waits_itself_gets_the_reply_too(stopped: Any) -> None:
    assert stopped(
        """
        with AgentOrchestrator() as orch:
            orch.add_agent("a", lambda: lambda messages: factory()(0.5))
            line(orch.spawn("a").send_message("go", timeout=2.0).text)
        """,
        3.0,
    ) == ["done"]


def test_a_machine_that_stood_still_makes_no_timeout_and_no_hang(stopped: Any) -> None:
    """Both stand still, and the work goes on afterwards."""
    assert stopped(
        """
        with AgentPool(factory, workers=1, heartbeat_timeout=1.5) as pool:
            reply = pool.submit(1.0, timeout=3.0)
            line(reply.result().text)
        """,
        3.5,
        worker=True,
    ) == ["done"]


def test_the_time_after_a_pause_counts(stopped: Any) -> None:
    out = stopped(
        """
        with AgentPool(factory, workers=1) as pool:
            began = time.monotonic()
            try:
                pool.submit(60, timeout=2.0).result()
            except TimeoutError:
                line("late after", 3 <= time.monotonic() - began < 15)
        """,
        1.5,
    )
    assert out == ["late after True"]


class _Begun(str):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and other.startswith("begun ")

    __hash__ = str.__hash__


ANY_BEGUN = _Begun()
