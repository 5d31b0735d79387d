"""Races of the monitor and its loop, each made to happen."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentError,
    AgentOrchestrator,
    AgentStopped,
    Backoff,
    OrchestratedHandle,
    StartError,
    SupervisorAction,
)
from procorch.clock import REAL
from procorch.runtime.loop import Loop

Make = Callable[..., AgentOrchestrator]


@pytest.fixture
def loop() -> Iterator[Loop[str]]:
    made: Loop[str] = Loop(REAL)
    yield made
    made.close()


@pytest.fixture
def pipes() -> Iterator[list[tuple[int, int]]]:
    """Three pipes with something to read in each."""
    made = [os.pipe() for _ in range(3)]
    for _, write in made:
        os.write(write, b"x")
    yield made
    for ends in made:
        for fd in ends:
            os.close(fd)


def test_what_was_posted_comes_before_what_the_loop_woke_for(
    loop: Loop[str], pipes: list[tuple[int, int]]
) -> None:
    """Else a reply would be taken, and the next request sent, before the cancel of that request."""
    order: list[Any] = []
    loop.watch(pipes[0][0], lambda: order.append("reply"))
    loop.post("cancel")
    loop.wait(lambda: order.append(loop.take()), lambda: None)
    assert order == ["cancel", "reply"]


def test_a_descriptor_that_got_a_new_owner_is_not_taken_for_the_old_one(
    loop: Loop[str], pipes: list[tuple[int, int]]
) -> None:
    """One callback ends all that is watched and watches the same numbers for somebody else."""
    called: list[Any] = []

    def replace() -> None:
        called.append("old")
        for read, _ in pipes:
            loop.unwatch(read)
            os.read(read, 1)
            loop.watch(read, lambda: called.append("new"))

    for read, _ in pipes:
        loop.watch(read, replace)
    loop.wait(lambda: None, lambda: None)
    assert called == ["old"]


def test_a_poster_that_is_late_wakes_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of the loop's descriptor may be somebody else's by then."""
    loop: Loop[str] = Loop(REAL)
    written: list[int] = []
    monkeypatch.setattr(os, "eventfd_write", lambda fd, value: written.append(fd))
    loop.close()
    loop._asleep = True  # as the poster saw it before it was suspended
    loop.post("late")
    assert written == []
    assert loop.take() == "late"


@pytest.mark.queue
def test_a_request_for_which_nobody_is_woken_is_found_by_the_turn_that_makes_room(
    start: Callable[..., OrchestratedHandle], gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender sees that others wait; in the next moment they do not."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory():
        def handle(word):
            if word == "wait":
                tell()
                wait()
            return word

        return handle

    handle = start(factory)
    machine, loop = handle._monitor._machine, handle._monitor._loop
    first = handle.deliver("wait")
    begun.line()
    second = handle.deliver("second")
    deadline = time.monotonic() + 90
    while not machine.waiting(handle._agent.mailbox.key):
        assert time.monotonic() < deadline
    look = machine.waiting

    def seen_late(mailbox: int) -> int:
        """Nobody waits any more, and the loop sleeps, when the number has been looked at."""
        seen = look(mailbox)
        if threading.current_thread() is threading.main_thread():
            monkeypatch.undo()
            go.open()
            second.result(20)
            while not loop._asleep:
                assert time.monotonic() < deadline
        return seen

    monkeypatch.setattr(machine, "waiting", seen_late)
    assert handle.deliver("third").result(20).output == "third"
    assert first.result().output == "wait"


def test_a_poster_that_is_interrupted_leaves_the_waking_to_the_next(
    loop: Loop[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, or a stack that ends there: the loop must not sleep on with a full inbox."""
    write, calls = os.eventfd_write, 0

    def interrupted_once(fd: int, value: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyboardInterrupt
        write(fd, value)

    monkeypatch.setattr(os, "eventfd_write", interrupted_once)
    loop._asleep = True  # as it says when it is about to wait
    with pytest.raises(KeyboardInterrupt):
        loop.post("first")
    loop.post("second")
    assert select.select([loop._wake_fd], [], [], 0)[0] == [loop._wake_fd]


def test_a_request_sent_in_the_very_last_moment_gets_an_outcome(
    orchestrator: Make, gate: Any
) -> None:
    """It is handed in while the last agent ends: after the last look into the inbox."""
    begun, die = gate(), gate()
    tell, wait = begun.tell, die.wait

    def factory():
        import os

        def handle(x):
            tell()
            wait()
            os._exit(1)

        return handle

    orch = orchestrator()
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    reply = handle.deliver("die")
    late: list[Any] = []
    reply.notify(lambda: late.append(handle.deliver("late")))
    begun.line()
    with ThreadPoolExecutor(1) as closer:
        closing = closer.submit(orch.close)
        while not closed(orch):
            pass
        die.open()
        closing.result()
    assert isinstance(reply.exception(), AgentCrashed)
    assert isinstance(late[0].exception(timeout=1), AgentError)


def closed(orch: AgentOrchestrator) -> bool:
    """Whether the orchestrator has begun to close."""
    try:
        orch.spawn("a", wait=False).cancel()
    except AgentStopped:
        return True
    return False


def test_a_start_that_the_system_refuses_harms_nobody_else(
    orchestrator: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    orch = orchestrator(supervisor=lambda name, error: None)
    orch.add_agent("a", lambda: lambda x: x)
    good = orch.spawn("a")

    def refuse(*args: Any) -> Any:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("socket.socketpair", refuse)
        with pytest.raises(StartError, match=r"agent 'a'.*Too many open files"):
            orch.spawn("a")
    assert good.deliver(1).result().output == 1
    assert orch.spawn("a").deliver(2).result().output == 2


@pytest.mark.timeout(180)  # over a hundred starts: 10 s of processor time with "spawn"
def test_a_hundred_idle_deaths_in_a_row_are_all_seen(orchestrator: Make) -> None:
    def factory():
        import os

        return lambda x: os.getpid()

    seen: list[AgentError] = []

    def policy(name: str, error: AgentError) -> Any:
        seen.append(error)
        return SupervisorAction.RESTART

    orch = orchestrator(supervisor=policy)
    orch.add_agent("a", factory, max_restarts=1000, backoff=Backoff(initial=0))
    handles = [orch.spawn("a") for _ in range(4)]
    for _ in range(25):
        pids = [handle.deliver("pid").result().output for handle in handles]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for handle, pid in zip(handles, pids, strict=True):
            while True:  # the request may meet the dying process, which has not begun it then
                error = (reply := handle.deliver("pid")).exception()
                if error is None:
                    break
                assert isinstance(error, AgentCrashed)
                assert not error.may_have_executed
            assert reply.result().output != pid
    assert len(seen) == 100
    assert all(isinstance(error, AgentCrashed) for error in seen)
