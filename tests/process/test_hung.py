"""The watchdog on real processes: who is busy and makes no progress is hung (N12)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from procorch import (
    AgentCrashed,
    AgentHung,
    AgentOrchestrator,
    AgentStatus,
    DefaultSupervisor,
    OrchestratedHandle,
    StartError,
)
from procorch.supervision import notices
from procorch.worker.interrupts import STACK
from tests.process.scenes import until

Start = Callable[..., OrchestratedHandle]
Orchestrator = Callable[..., AgentOrchestrator]
GateMaker = Callable[[], Any]

HEARTBEAT = 0.3  # seconds


def stuck(tell: Callable[..., None]) -> Callable[[], Any]:
    """An agent that stops making progress in every way there is."""

    def factory():
        import ctypes
        import hashlib
        import itertools
        import os
        import signal
        import threading
        import time

        import procorch

        def waits_for_ever():
            threading.Event().wait()

        def counts_for_ever():
            while True:
                pass

        def digests_for_ever():  # native code, without the interpreter's lock
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)

        def adds_for_ever():  # native code that holds it
            sum(itertools.repeat(1))

        def sleeps_in_c():  # the same, asleep, and woken by signals only to sleep on
            while True:
                ctypes.PyDLL(None).usleep(10**9)

        def makes_progress():
            tell("in it")
            while True:
                procorch.current().progress()
                time.sleep(0.001)

        def is_deaf():
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            ctypes.CDLL(None).sleep(1000)

        ways = [
            waits_for_ever, counts_for_ever, digests_for_ever, adds_for_ever, sleeps_in_c,
            makes_progress, is_deaf,
        ]  # fmt: skip
        by_name = {way.__name__: way for way in ways}

        def handle(x):
            if x in by_name:
                tell()
                by_name[x]()
            return os.getpid()

        return handle

    return factory


def hung(reply: Any) -> AgentHung:
    error = reply.exception()
    assert isinstance(error, AgentHung), error
    return error


def test_a_busy_agent_without_progress_is_killed_and_its_stack_shows_where_it_stood(
    orchestrator: Orchestrator, gate: GateMaker
) -> None:
    """N12: Python code and native code, with the interpreter's lock or without."""
    begun = gate()
    orch = orchestrator()
    ways = ["waits_for_ever", "counts_for_ever", "digests_for_ever", "adds_for_ever", "sleeps_in_c"]
    for way in ways:
        orch.add_agent(way, stuck(begun.tell), heartbeat_timeout=HEARTBEAT)
    handles = orch.spawn_all()
    pids = {way: handle.pid for way, handle in handles.items()}
    replies = {way: handle.deliver(way) for way, handle in handles.items()}
    for way, reply in replies.items():
        error = hung(reply)
        assert (error.agent, error.pid, error.generation) == (way, pids[way], 1)
        assert (error.request, error.heartbeat_timeout) == (reply.request, HEARTBEAT)
        assert error.may_have_executed
        assert error.is_retryable
        assert isinstance(error, AgentCrashed)
        assert f" in {way}\n" in error.last_stack
        assert "test_hung.py" in error.last_stack
        handles[way].wait()
        assert handles[way].status() is AgentStatus.FAILED  # nobody was there to decide otherwise


def test_stopped_and_deaf_workers_are_hung_too(orchestrator: Orchestrator, gate: GateMaker) -> None:
    """N12: a stopped one is continued only to write down its stack; one that blocks all signals is
    killed without."""
    begun = gate()
    orch = orchestrator()
    names = ["stopped before", "stopped in it", "deaf"]
    for name in names:
        orch.add_agent(name, stuck(begun.tell), heartbeat_timeout=HEARTBEAT)
    before, in_it, deaf = orch.spawn_all().values()
    assert before.pid is not None
    assert in_it.pid is not None
    os.kill(before.pid, signal.SIGSTOP)
    replies = [in_it.deliver("makes_progress")]
    while begun.line() != "in it":
        pass
    os.kill(in_it.pid, signal.SIGSTOP)
    replies += [before.deliver("waits_for_ever"), deaf.deliver("is_deaf")]
    stacks = [hung(reply).last_stack for reply in replies]
    assert " in makes_progress\n" in stacks[0]
    assert "procorch" in stacks[1]
    assert stacks[2] == ""


def test_progress_keeps_a_busy_agent_alive(start: Start) -> None:
    """N12: `current().progress()`, in less than the heartbeat each time."""

    def factory():
        import time

        import procorch

        def handle(x):
            for _ in range(30):
                procorch.current().progress()
                time.sleep(0.05)
            return "done"

        return handle

    handle = start(factory, heartbeat_timeout="1s")
    result = handle.deliver("work").result()
    assert result.output == "done"
    assert result.metrics is not None
    assert result.metrics.wall > 1


def test_an_agent_that_answers_one_request_after_the_other_makes_progress(
    start: Start,
) -> None:
    """N12: the request loop itself touches the counter."""

    def factory():
        import time

        return lambda x: time.sleep(0.05)

    handle = start(factory, heartbeat_timeout="500ms", channel_buffer=64)
    replies = [handle.deliver(n) for n in range(16)]
    for reply in replies:
        reply.result()
    assert handle.generation == 1


def test_an_idle_agent_is_never_hung(orchestrator: Orchestrator, gate: GateMaker) -> None:
    """N12: only a busy one is watched; another agent's hang tells that the time has passed."""
    begun = gate()
    orch = orchestrator()
    for name in ("idle", "clock"):
        orch.add_agent(name, stuck(begun.tell), heartbeat_timeout=HEARTBEAT)
    idle, clock = orch.spawn("idle"), orch.spawn("clock")
    pid = idle.deliver("hello").result().output
    os.kill(pid, signal.SIGSTOP)
    hung(clock.deliver("waits_for_ever"))
    os.kill(pid, signal.SIGCONT)
    assert idle.deliver("hello").result().output == pid


def test_a_slow_start_is_no_hang(orchestrator: Orchestrator, gate: GateMaker) -> None:
    """N9, N12."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def slow():
        tell("starting")
        wait()
        return lambda x: "at last"

    orch = orchestrator()
    orch.add_agent("slow", slow, heartbeat_timeout=HEARTBEAT)
    orch.add_agent("clock", stuck(begun.tell), heartbeat_timeout=HEARTBEAT)
    handle = orch.spawn("slow", wait=False)
    reply = handle.deliver("work")
    assert begun.line() == "starting"
    hung(orch.spawn("clock").deliver("waits_for_ever"))
    go.open()
    assert reply.result().output == "at last"
    assert handle.generation == 1


def test_a_start_has_a_limit_of_its_own(orchestrator: Orchestrator) -> None:
    """N9: `start_timeout`, whatever the factory does."""

    def never():
        import itertools

        sum(itertools.repeat(1))

    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", never, start_timeout="300ms", heartbeat_timeout="50ms")
    with pytest.raises(StartError, match=r"'a' was not ready within 0\.3 s"):
        orch.spawn("a")
    assert orch.handle("a") is None


def test_a_hung_agent_is_replaced_under_its_budget_and_its_queue_goes_on(
    orchestrator: Orchestrator, gate: GateMaker
) -> None:
    """N12, N1, N3, N18: the events say so in this order."""
    begun = gate()
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", stuck(begun.tell), heartbeat_timeout=HEARTBEAT)
    handle = orch.spawn("a")
    stream = orch.monitor("a")
    reply, queued = handle.deliver("counts_for_ever"), handle.deliver("hello")
    error = hung(reply)
    assert queued.result().output == handle.pid != error.pid
    assert handle.info().restarts == 1

    seen = [
        notice
        for notice in until(stream, notices.Ready, "a")
        if not isinstance(notice, notices.RequestStarted | notices.RequestDone)
    ]
    kinds = [type(notice) for notice in seen]
    assert kinds == [
        notices.Hung, notices.Crashed, notices.Restarting, notices.Starting, notices.Ready,
    ]  # fmt: skip
    assert isinstance(seen[0], notices.Hung)
    assert (seen[0].timeout, seen[0].request) == (HEARTBEAT, reply.request)
    assert isinstance(seen[1], notices.Crashed)
    assert isinstance(seen[1].error, AgentHung)
    assert [notice.generation for notice in seen] == [1, 1, 1, 2, 2]


def test_a_stopped_worker_that_answers_when_it_is_continued_was_not_hung(
    orchestrator: Any, gate: Any, caplog: Any
) -> None:
    """It is continued to write its stack, and its answer is there before the kill."""
    begun, go = gate(), gate()

    def factory() -> Any:
        def respond(x: Any) -> str:
            begun.tell("begun")
            go.wait()
            return "answer"

        return respond

    orch = orchestrator()
    orch.add_agent("a", factory, heartbeat_timeout=0.4)
    handle = orch.spawn("a")
    events = orch.monitor("a")
    reply = handle.deliver("go")
    begun.line()
    pid = handle.pid
    os.kill(pid, signal.SIGSTOP)
    go.open()
    assert reply.result(30).text == "answer"
    go.open()
    assert handle.deliver("again").result(30).text == "answer"
    assert (handle.pid, handle.generation, handle.info().restarts) == (pid, 1, 0)
    orch.close()
    kinds = {type(notice).__name__ for notice in events}
    assert kinds <= {"RequestStarted", "RequestDone", "Stopped"}
    assert "hung" not in caplog.text


def test_the_stack_of_a_suspicion_that_was_refuted_is_not_that_of_a_later_crash(
    orchestrator: Any, gate: Any
) -> None:
    begun, go = gate(), gate()

    def factory() -> Any:
        def seems_to_hang() -> str:
            begun.tell("begun")
            go.wait()
            return "answer"

        return lambda _: seems_to_hang()

    orch = orchestrator()
    orch.add_agent("a", factory, heartbeat_timeout=0.4)
    handle = orch.spawn("a")
    events = orch.monitor("a")
    reply = handle.deliver("go")
    begun.line()
    assert handle.pid is not None
    os.kill(handle.pid, signal.SIGSTOP)
    go.open()
    assert reply.result(30).text == "answer"
    os.kill(handle.pid, signal.SIGKILL)
    crash = next(event for event in events if isinstance(event, notices.Crashed))
    assert isinstance(crash.error, AgentCrashed)
    assert crash.error.generation == 1
    assert crash.error.last_stack == ""


def test_a_stack_that_was_asked_for_too_late_is_not_that_of_a_later_crash(
    orchestrator: Any,
) -> None:
    orch = orchestrator()
    orch.add_agent("a", lambda: lambda x: os._exit(3) if x == "die" else "answer")
    handle = orch.spawn("a")
    assert handle.deliver("go").result(30).text == "answer"
    worker = psutil.Process(handle.pid)
    while worker.status() != psutil.STATUS_SLEEPING:  # until it waits for the next request
        os.sched_yield()
    worker.send_signal(STACK)  # as the parent does when an answer overtakes it
    with pytest.raises(AgentCrashed) as caught:
        handle.deliver("die").result(30)
    assert caught.value.last_stack == ""
