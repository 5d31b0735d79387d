"""Rows 1, 5, 11, 12, 15 and 23 of the fault matrix: workers that die, and what they take along."""

from __future__ import annotations

import os
import queue
import signal
import textwrap
import time
from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentFailure,
    AgentOrchestrator,
    AgentStatus,
    Backoff,
    DefaultSupervisor,
    MemoryLimitExceeded,
    OrchestratedHandle,
    StartError,
    SupervisorAction,
)
from procorch.supervision.notices import Crashed, Ready, Restarting, Stopped

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("start_method")]

AT_ONCE = 2.0  # seconds

Make = Callable[..., AgentOrchestrator]
Start = Callable[..., OrchestratedHandle]
Run = Callable[..., Any]


def test_row_01_an_idle_worker_that_is_killed_is_one_crash_and_is_replaced(
    orchestrator: Make,
) -> None:
    def factory():
        import os

        return lambda x: os.getpid()

    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    pid = handle.pid
    assert pid is not None
    stream = orch.events()
    before = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    seen = [next(stream)]
    while not isinstance(seen[-1], Ready):
        seen.append(next(stream))
    crashes = [event for event in seen if isinstance(event, Crashed)]
    assert len(crashes) == 1
    assert crashes[0].at - before < AT_ONCE
    error = crashes[0].error
    assert isinstance(error, AgentCrashed)
    assert (error.signal, error.pid, error.request) == ("SIGKILL", pid, None)
    assert not error.may_have_executed
    assert seen[-1].generation == 2
    assert handle.deliver("go").result().output == handle.pid != pid


STEPS = ["before ready", "unpickling", "running", "pickling", "half a frame"]


@pytest.mark.parametrize("step", STEPS)
def test_row_05_a_death_at_each_step_has_one_outcome_and_an_exact_account(
    orchestrator: Make, tmp_path: Any, step: str
) -> None:
    log = str(tmp_path / "executed")
    dies_once = str(tmp_path / "died")

    def once() -> bool:
        import os

        try:
            os.close(os.open(dies_once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    class Bomb:
        def __reduce__(self):
            import os

            return os._exit, (9,)

    def factory():
        import os
        import socket

        if step == "before ready" and os.path.exists(log) and once():
            os._exit(9)

        class ReplyBomb:
            def __reduce__(self):
                os._exit(9)

        def handle(x):
            with open(log, "a") as file:
                file.write(f"{x}\n")
            if x == "first" and step == "before ready":
                os._exit(9)
            if x == "deadly" and step == "running":
                os._exit(9)
            if x == "deadly" and step == "pickling":
                return ReplyBomb()
            if x == "deadly" and step == "half a frame":
                send = socket.socket.send

                def half(sock, data, *flags):
                    send(sock, data[: len(data) // 2])
                    os._exit(9)

                socket.socket.send = half
            return x

        return handle

    orch = orchestrator(supervisor=lambda name, error: SupervisorAction.RESTART)
    orch.add_agent("a", factory, backoff=Backoff(initial=0))
    handle = orch.spawn("a")
    first = handle.deliver("first")
    deadly = handle.deliver(Bomb() if step == "unpickling" else "deadly")
    outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for reply in (first, deadly):
        reply.add_done_callback(outcomes.put)
    behind = handle.deliver("behind")

    assert behind.result().output == "behind"
    if step == "before ready":
        # The first one kills its worker, the next generation dies while it starts; the queue waits.
        assert isinstance(first.exception(), AgentCrashed)
        assert deadly.result().output == "deadly"
        executed = ["first", "deadly", "behind"]
    else:
        error = deadly.exception()
        assert isinstance(error, AgentCrashed)
        assert error.exitcode == 9
        assert error.may_have_executed  # begun, as far as anybody can know
        executed = ["first", "deadly", "behind"]
        if step == "unpickling":
            executed.remove("deadly")
    with open(log) as file:
        assert file.read().split() == executed
    assert handle.deliver("last").result().output == "last"
    # On a thread of their own (N13), so perhaps later than the answer; once, and in order.
    assert outcomes.get(timeout=20) is first
    assert outcomes.get(timeout=20) is deadly
    assert outcomes.empty()


def test_row_11_a_crash_loop_at_start_stops_at_its_budget(
    orchestrator: Make, tmp_path: Any
) -> None:
    starts = str(tmp_path / "starts")

    def factory():
        import os

        with open(starts, "a") as file:
            file.write("s")
        if os.path.getsize(starts) > 1:
            os._exit(3)

        def handle(x):
            os._exit(4)

        return handle

    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", factory, max_restarts=4, backoff=Backoff(initial=0.01, jitter=False))
    orch.add_agent("other", lambda: lambda x: x)
    handle, other = orch.spawn("a"), orch.spawn("other")
    stream = orch.monitor("a")
    deadly, queued = handle.deliver("go"), handle.deliver("more")
    assert isinstance(deadly.exception(), AgentCrashed)
    for n in range(20):  # in the middle of the loop
        assert other.deliver(n).result(timeout=AT_ONCE).output == n
    events = [event for event in stream if isinstance(event, Restarting | Stopped)]
    assert [event.restart for event in events[:-1]] == [1, 2, 3, 4]
    assert events[-1].status is AgentStatus.FAILED
    assert os.path.getsize(starts) == 1 + 4
    assert queued.exception() is not None


def test_row_11_a_crash_loop_at_the_first_request_stops_at_its_budget(orchestrator: Make) -> None:
    def factory():
        import os

        return lambda x: os._exit(4)

    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", factory, max_restarts=3, backoff=Backoff(initial=0.01, jitter=False))
    handle = orch.spawn("a")
    stream = orch.monitor("a")
    replies = [handle.deliver(n) for n in range(6)]
    crashed = [isinstance(reply.exception(), AgentCrashed) for reply in replies]
    assert crashed == [True] * 4 + [False] * 2
    restarts = [event for event in stream if isinstance(event, Restarting)]
    assert len(restarts) == 3
    assert handle.status() is AgentStatus.FAILED


def test_row_11_a_storm_of_crash_loops_leaves_the_machine_responsive(orchestrator: Make) -> None:
    def factory():
        import os

        return lambda x: os._exit(4)

    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("calm", lambda: lambda x: x)
    calm = orch.spawn("calm")
    loops = []
    for n in range(12):
        orch.add_agent(f"loop-{n}", factory, max_restarts=2, backoff=Backoff(initial=0.01))
        loops.append(orch.spawn(f"loop-{n}", wait=False))
    replies = [loop.deliver(n) for loop in loops for n in range(3)]
    slowest = 0.0
    while not all(reply.done() for reply in replies):
        before = time.monotonic()
        calm.deliver("still there?").result(timeout=5)
        assert all(loop.status() for loop in loops)
        slowest = max(slowest, time.monotonic() - before)
    assert slowest < AT_ONCE
    assert all(isinstance(reply.exception(), AgentCrashed) for reply in replies)
    loops[0].cancel()


def test_row_12_a_leak_is_noticed_with_its_figures(start: Start) -> None:
    def factory():
        import time

        kept = []

        def handle(x):
            while x == "leak":
                kept.append(b"x" * (1 << 20))
                time.sleep(0.001)
            return x

        return handle

    handle = start(factory, supervisor=DefaultSupervisor(), memory_limit="100M")
    error = handle.deliver("leak").exception()
    assert isinstance(error, MemoryLimitExceeded)
    assert error.limit in (100_000_000, 100 << 20)
    assert error.limit < error.observed < error.limit + (200 << 20)
    assert error.may_have_executed
    assert f"{error.limit}" in str(error) or "100" in str(error)
    assert handle.deliver("go").result().output == "go"


def test_a_death_tells_how_large_the_process_was(start: Start, start_method: str) -> None:
    def factory():
        import os

        def handle(megabytes):
            held = b"x" * (megabytes << 20)
            os._exit(len(held) & 1)

        return handle

    peaks = []
    for megabytes in (1, 100):
        error = start(factory).deliver(megabytes).exception()
        assert isinstance(error, AgentCrashed)
        peaks.append(error.peak_rss)
    if start_method == "spawn":
        assert peaks == [None, None]
    else:
        assert 90 << 20 < peaks[1] - peaks[0] < 110 << 20


def test_row_12_one_huge_allocation_is_noticed(start: Start) -> None:
    def factory():
        import threading

        def handle(x):
            if x == "huge":
                block = bytearray(300 << 20)
                block[::4096] = b"x" * len(block[::4096])
                threading.Event().wait()
            return x

        return handle

    handle = start(factory, supervisor=DefaultSupervisor(), memory_limit="200M")
    error = handle.deliver("huge").exception()
    assert isinstance(error, MemoryLimitExceeded)
    assert error.observed > error.limit
    assert handle.deliver("go").result().output == "go"


def test_row_12_an_allocation_beyond_the_address_space_fails_its_request_alone(
    start: Start,
) -> None:
    def factory():
        return lambda x: len(bytearray(x))

    handle = start(factory, address_space_limit="4G")
    error = handle.deliver(8 << 30).exception()
    assert isinstance(error, AgentFailure)
    assert error.exc_type == "MemoryError"
    assert handle.deliver(10).result().output == 10
    assert handle.generation == 1


REAPING = textwrap.dedent("""
    import os, signal, threading
    from procorch import AgentOrchestrator, DefaultSupervisor

    def factory():
        def handle(x):
            if isinstance(x, int):
                os._exit(x)
            return os.getpid()
        return handle

    def reap_all():
        while not over.is_set():
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                pass

    over = threading.Event()
    if HOW == "ignore":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    else:
        threading.Thread(target=reap_all, daemon=True).start()
    with AgentOrchestrator(supervisor=DefaultSupervisor()) as orch:
        orch.add_agent("a", factory, max_restarts=100)
        handle = orch.spawn("a")
        for code in (1, 7, 255):
            print(handle.deliver(code).exception().exitcode)
            assert handle.deliver("go").result().output == handle.pid
    over.set()
""")


@pytest.mark.parametrize("how", ["ignore", "waitpid"])
def test_row_15_a_program_that_reaps_everything_or_nothing(
    run_python: Run, start_method: str, how: str
) -> None:
    done = run_python(f"HOW = {how!r}\n" + REAPING)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    told = done.stdout.split()
    if start_method == "zygote":
        assert told == ["1", "7", "255"]
    else:
        # Workers are children of the program itself: the death is seen, the status is a race.
        assert all(code in ("1", "7", "255", "None") for code in told)
        assert len(told) == 3


def test_row_23_a_worker_that_dies_while_it_starts_leaves_nothing(start: Start) -> None:
    def factory():
        import os
        import signal

        os.kill(os.getpid(), signal.SIGSEGV)

    with pytest.raises(StartError, match="SIGSEGV"):
        start(factory)
