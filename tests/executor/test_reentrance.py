"""Signal handlers may use everything at any moment: no lock is held over code of the user."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from procorch import AgentExecutor, AgentOrchestrator, AgentPool
from procorch.runtime.mailbox import Mailbox
from tests.executor import functions

ROUNDS = 150


@pytest.fixture
def storm() -> Iterator[Callable[[Callable[[], object], Callable[[], object]], int]]:
    """Calls something over and over while a handler interrupts it and does something else."""
    before = signal.getsignal(signal.SIGALRM)

    def run(work: Callable[[], object], in_handler: Callable[[], object]) -> int:
        inside, handled = False, 0

        def handle(signum: int, frame: object) -> None:
            nonlocal inside, handled
            if inside:
                return
            inside = True
            try:
                in_handler()
                handled += 1
            finally:
                inside = False

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0013)
        try:
            rounds = 0
            while rounds < ROUNDS or handled < ROUNDS // 5:
                work()
                rounds += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return handled

    yield run
    signal.signal(signal.SIGALRM, before)


def test_an_executor_in_signal_handlers(storm: Any) -> None:
    with AgentExecutor(2) as executor:
        futures = []

        def work() -> None:
            futures.append(executor.submit(functions.power, 3))
            futures[-1].add_done_callback(lambda _: None)
            assert list(executor.map(functions.power, [1, 2], chunksize=2)) == [1, 4]
            repr(futures[-1])

        storm(work, lambda: executor.submit(functions.power, 2).result(20))
        assert {future.result() for future in futures} == {9}


def test_a_pool_and_handles_in_signal_handlers(storm: Any) -> None:
    with AgentPool(lambda: functions.power, workers=2) as pool, AgentOrchestrator() as orch:
        orch.add_agent("agent", lambda: lambda messages: messages[0].text)
        handle = orch.spawn("agent")

        def work() -> None:
            assert pool.map([1, 2, 3]) == [1, 4, 9]
            assert handle.send_message("hello").output == "hello"
            replies = [handle.submit("there") for _ in range(3)]
            pool.submit(4).cancel()
            assert [reply.result().output for reply in replies] == ["there"] * 3

        def in_handler() -> None:
            assert handle.submit("now").result(20).output == "now"
            assert pool.submit(5).result(20).output == 25
            pool.info()

        storm(work, in_handler)


def test_streams_in_signal_handlers(storm: Any) -> None:
    def talk(messages: Any) -> Iterator[str]:
        yield from ("one ", "two ", "three")

    def factory() -> Any:
        from procorch import AgentOptions

        return AgentOptions(stream_fn=lambda context: talk(context), keep_history=False)

    with AgentOrchestrator() as orch:
        orch.add_agent("talker", factory)
        handle, other = orch.spawn("talker"), orch.spawn("talker")

        def work() -> None:
            assert "".join(handle.stream("go on")) == "one two three"

        def in_handler() -> None:
            assert other.submit("say it").result(20).output == "one two three"

        storm(work, in_handler)


def test_a_place_in_a_mailbox_is_never_lost() -> None:
    box = Mailbox(1, 3)
    most, entered, lock = 0, 0, threading.Lock()

    def send() -> None:
        nonlocal most, entered
        for _ in range(200):
            assert box.enter(20)
            with lock:
                entered += 1
                most = max(most, entered)
            with lock:
                entered -= 1
            box.leave()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert not any(thread.is_alive() for thread in threads)
    assert most <= 3
    assert len(box) == 0
    assert [box.enter(0) for _ in range(4)] == [True, True, True, False]
    box.widen(4)
    assert box.enter(0)
    box.close()
    assert box.enter(None)  # a closed one has no limit
