"""`stack`: what the processes of an agent do at the moment, without ending them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from procorch import AgentCrashed, AgentOrchestrator, DefaultSupervisor, OrchestratedHandle

Orchestrator = Callable[..., AgentOrchestrator]


@pytest.fixture
def working(gate: Callable[[], Any]) -> Any:
    """A factory whose agent tells that it has begun and goes on when it is let go."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory() -> Callable[[Any], Any]:
        import ctypes
        import os

        def in_the_depths(depth: int) -> None:
            if depth:
                in_the_depths(depth - 1)
            else:
                tell()
                wait()

        def where_it_waits(request: Any) -> Any:
            if request == "native":
                tell()
                while True:
                    ctypes.PyDLL(None).pause()  # with the lock of the interpreter
            in_the_depths(60 if request == "deep" else 0)
            if request == "segfault":
                ctypes.string_at(0)
            if request == "exit":
                os._exit(3)
            return os.getpid()

        return where_it_waits

    return factory, begun, go


def only(handle: OrchestratedHandle) -> str:
    ((slot, pid, text),) = handle.stack(timeout=30)
    assert (slot, pid) == (0, handle.pid)
    return text


def test_the_stack_of_a_request_that_runs(orchestrator: Orchestrator, working: Any) -> None:
    factory, begun, go = working
    orch = orchestrator()
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    assert "/procorch/" in only(handle)  # it is idle, and shows where it waits
    request = handle.deliver("deep")
    begun.line()
    texts = [only(handle) for _ in range(12)]  # more than the page has room for at once
    go.open()
    assert request.result().output == handle.pid
    assert all(text.count(" in in_the_depths\n") == 61 for text in texts)
    assert all(text.endswith(" in where_it_waits\n") for text in texts)


@pytest.mark.parametrize("how", ["exit", "segfault"])
def test_a_later_crash_shows_its_own_stack(
    orchestrator: Orchestrator, working: Any, how: str
) -> None:
    factory, begun, go = working
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    request = handle.deliver(how)
    begun.line()
    assert "in in_the_depths" in only(handle)
    go.open()
    error = request.exception()
    assert isinstance(error, AgentCrashed)
    if how == "exit":
        assert error.last_stack == ""
    else:
        assert error.last_stack.startswith("Fatal Python error: Segmentation fault")
        assert "in in_the_depths" not in error.last_stack


def test_a_process_that_is_busy_with_many_short_requests(orchestrator: Orchestrator) -> None:
    """Its answers erase the text of a suspicion, and leave this one alone."""
    orch = orchestrator()
    orch.add_agent("a", lambda: lambda request: request)
    handle = orch.spawn("a")
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            handle.deliver(0).result()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert all("most recent call first" in only(handle) for _ in range(3))
    finally:
        over.set()
        asking.join()


def test_a_death_while_it_is_idle_shows_none(orchestrator: Orchestrator, working: Any) -> None:
    orch = orchestrator()
    orch.add_agent("a", working[0])
    handle = orch.spawn("a")
    assert only(handle)
    os.kill(handle.pid or 0, signal.SIGKILL)
    handle.wait()
    error = handle.failure()
    assert isinstance(error, AgentCrashed)
    assert error.last_stack == ""


def test_a_process_that_is_blocked_in_native_code(orchestrator: Orchestrator, working: Any) -> None:
    factory, begun, _ = working
    orch = orchestrator()
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    request = handle.deliver("native")
    begun.line()
    assert all(" in where_it_waits\n" in only(handle) for _ in range(2))
    os.kill(handle.pid or 0, signal.SIGKILL)
    error = request.exception()
    assert isinstance(error, AgentCrashed)
    assert error.last_stack == ""


def test_a_stopped_process_stays_stopped(orchestrator: Orchestrator, working: Any) -> None:
    factory, begun, go = working
    orch = orchestrator()
    orch.add_agent("a", factory, instances=2)
    handle = orch.spawn("a")
    first = handle.info().instances[0].pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    while psutil.Process(first).status() != psutil.STATUS_STOPPED:
        pass
    (zero, pid, text), (one, _, other) = handle.stack(timeout=30)
    assert (zero, pid, text) == (0, first, "")
    assert one == 1
    assert "/procorch/" in other
    assert psutil.Process(first).status() == psutil.STATUS_STOPPED
    os.kill(first, signal.SIGCONT)
    requests = [handle.deliver("go") for _ in range(2)]
    go.open(2)
    assert len({each.result().output for each in requests}) == 2
    assert len(begun.told()) == 2


def test_a_factory_that_takes_long(orchestrator: Orchestrator, gate: Callable[[], Any]) -> None:
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory() -> Any:
        tell()
        wait()
        return lambda request: request

    orch = orchestrator()
    orch.add_agent("a", factory)
    handle = orch.spawn("a", wait=False)
    begun.line()
    assert only(handle).endswith(" in factory\n")
    go.open()
    handle.stop()
    assert handle.stack() == []
