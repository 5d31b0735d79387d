"""Callers that wait for their answer write and read it themselves (docs/decisions/007)."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from procorch import (
    Aborted,
    AgentCrashed,
    AgentOrchestrator,
    DefaultSupervisor,
    MailboxFull,
    OrchestratedHandle,
    ReplyFuture,
    RequestTimeout,
)
from procorch.clock import REAL
from procorch.futures.outcome import ReplyOutcome
from procorch.futures.reply import ValueReply
from procorch.launch import process as local
from procorch.runtime.direct import Direct
from procorch.runtime.loop import Loop
from procorch.supervision.request import Request, RequestState

Start = Callable[..., OrchestratedHandle]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who served each call that waited."""
    seen: list[str] = []
    call = Direct.call

    def counted(self: Direct, request: Request, reply: ReplyFuture) -> None:
        call(self, request, reply)
        if request.state is RequestState.NEW:  # the monitor had its turn in that moment
            seen.append("the monitor")
        else:
            seen.append("its thread" if reply.done() else "nobody yet")

    monkeypatch.setattr(Direct, "call", counted)
    return seen


def plain() -> Callable[[Any], Any]:
    def handle(messages):
        return messages[0].content[0].text

    return handle


def by_word(tell: Callable[..., None]) -> Callable[[], Any]:
    def factory():
        import os
        import time

        def handle(messages):
            word = messages[0].content[0].text
            if word == "die":
                os._exit(3)
            if word == "hang":
                tell()
                time.sleep(1000)
            if word == "fail":
                raise ValueError("no")
            return os.getpid(), word

        return handle

    return factory


def test_a_call_is_served_without_the_monitor_and_its_like_follow(
    start: Start, taken: list[str]
) -> None:
    handle = start(plain)
    answers = [handle.send_message(f"{n}").text for n in range(200)]
    assert answers == [f"{n}" for n in range(200)]
    assert len(taken) == 200
    assert "nobody yet" not in taken
    assert taken.count("its thread") > 150  # the monitor's turns are short and few


def test_calls_and_futures_of_many_threads_mix(start: Start) -> None:
    handle = start(plain, channel_buffer=1000)
    wrong: list[str] = []

    def work(who: int) -> None:
        for n in range(50):
            text = f"{who}.{n}"
            direct = handle.send_message(text).text
            future = handle.submit(text).result().text
            if (direct, future) != (text, text):
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_death_wakes_the_caller_and_the_next_call_finds_a_new_worker(
    start: Start, gate: Any
) -> None:
    """The exit is told by the zygote, after the socket: the monitor's part."""
    handle = start(by_word(gate().tell), supervisor=DefaultSupervisor())
    for generation in (2, 3):
        with pytest.raises(AgentCrashed) as caught:
            handle.send_message("die")
        assert caught.value.exitcode == 3
        assert handle.send_message("live").metrics.generation == generation


def test_an_error_is_judged_as_ever(start: Start, gate: Any) -> None:
    handle = start(by_word(gate().tell))
    pid = handle.pid
    with pytest.raises(Exception, match="no"):
        handle.send_message("fail")
    assert handle.send_message("live").output == (handle.pid, "live")
    assert handle.pid == pid or handle.generation == 2


def test_a_deadline_ends_a_call_on_time_though_its_worker_says_nothing(
    start: Start, gate: Any
) -> None:
    handle = start(by_word(gate().tell))
    began = time.monotonic()
    with pytest.raises(RequestTimeout):
        handle.send_message("hang", timeout=0.2)
    assert time.monotonic() - began < 10


def test_a_cancel_from_another_thread_wakes_the_caller(start: Start, gate: Any) -> None:
    begun = gate()
    handle = start(by_word(begun.tell))

    def cancel() -> None:
        begun.line()
        handle.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(Aborted):
        handle.send_message("hang")
    canceller.join()


def test_a_close_from_another_thread_wakes_the_caller(
    orchestrator: Callable[..., AgentOrchestrator], gate: Any
) -> None:
    begun = gate()
    orch = orchestrator()
    orch.add_agent("a", by_word(begun.tell))
    handle = orch.spawn("a")

    def close() -> None:
        begun.line()
        orch.close(drain=False)

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(Aborted):
        handle.send_message("hang")
    closer.join()


def test_ctrl_c_leaves_a_call_and_harms_nothing(start: Start, gate: Any) -> None:
    """The request goes on, as it does for who leaves ``result()``; the agent serves on."""
    begun = gate()
    handle = start(by_word(begun.tell), request_timeout=60.0)

    def interrupt() -> None:
        begun.line()
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        handle.send_message("hang")
    interrupter.join()
    with pytest.raises(RequestTimeout):
        handle.send_message("wait", timeout=0.2)  # behind the one that was left


class Interrupted(Exception):
    """Raised by a signal's handler."""


def test_a_hail_of_handlers_that_raise_never_tears_a_turn(start: Start) -> None:
    """A call that is interrupted anywhere leaves machine, worker and loop in order."""
    handle = start(plain, channel_buffer=100_000)
    main, ended = threading.main_thread().ident, threading.Event()
    calling: list[bool] = []  # so that the test itself is not interrupted where it catches nothing

    def strike(signum: int, frame: Any) -> None:
        if calling:
            calling.clear()
            raise Interrupted

    def hail() -> None:
        while not ended.wait(0.001):
            signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, strike)
    thread = threading.Thread(target=hail)
    struck = answered = 0
    try:
        thread.start()
        while struck < 100:
            try:
                calling.append(True)
                assert handle.send_message("hello").text == "hello"
                calling.clear()
                answered += 1
            except Interrupted:
                struck += 1
    finally:
        calling.clear()
        ended.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert handle.send_message("after").text == "after"
    assert handle.generation == 1


def test_a_call_from_the_handler_of_a_signal_that_comes_during_a_call(
    start: Start, gate: Any
) -> None:
    begun = gate()
    handle = start(by_word(begun.tell), request_timeout=1.0)
    inner: list[Any] = []

    def call_again(signum: int, frame: Any) -> None:
        with pytest.raises(RequestTimeout):
            handle.send_message("live", timeout=0.1)
        inner.append("called")

    def strike() -> None:
        begun.line()
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, call_again)
    striker = threading.Thread(target=strike)
    try:
        striker.start()
        with pytest.raises(RequestTimeout):
            handle.send_message("hang")
    finally:
        striker.join()
        signal.signal(signal.SIGUSR1, before)
    assert inner == ["called"]


def test_a_call_at_the_end_of_the_stack_fails_alone(start: Start) -> None:
    handle = start(plain)

    def deeper() -> str:
        try:
            return deeper()
        except RecursionError:
            return handle.send_message("deep").text

    def all_the_way(room: int) -> str:
        return all_the_way(room - 1) if room else handle.send_message("deep").text

    # With less and less room: for a turn, for a call by way of the monitor, for nothing.
    limit = sys.getrecursionlimit()
    outcomes = []
    for room in range(limit - 250, limit):
        try:
            outcomes.append(all_the_way(room))
        except RecursionError:
            outcomes.append("no room")
    assert set(outcomes) == {"deep", "no room"}
    assert deeper() == "deep"
    assert handle.send_message("after").text == "after"
    assert handle.generation == 1


@pytest.mark.queue
def test_a_full_channel_is_refused_and_a_long_reply_read_whole(start: Start, gate: Any) -> None:
    begun = gate()
    handle = start(by_word(begun.tell), channel_buffer=1)
    handle.submit("hang", timeout=5.0)
    begun.line()
    handle.submit("next")
    with pytest.raises(MailboxFull):
        handle.submit("one too many", wait=False)


def test_replies_and_requests_of_megabytes(start: Start) -> None:
    handle = start(plain)
    text = "x" * 3_000_000
    for _ in range(3):
        assert handle.send_message(text).text == text


@pytest.fixture
def long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that a caller has read is left alone for longer than a test takes."""
    monkeypatch.setattr(local, "_REST", 1000.0)


@pytest.mark.usefixtures("long_rest")
def test_the_monitor_reads_what_it_has_sent_to_a_worker_whose_socket_is_left_alone(
    start: Start,
) -> None:
    handle = start(plain)
    for n in range(3):
        assert handle.send_message("by its thread").text == "by its thread"
        assert handle.submit(f"{n}").result(30).text == f"{n}"


@pytest.mark.usefixtures("long_rest")
def test_a_socket_is_not_left_alone_while_its_worker_works(start: Start, gate: Any) -> None:
    begun, go = gate(), gate()
    wait = go.wait

    def factory() -> Callable[[Any], Any]:
        def handle(messages):
            if messages[0].content[0].text == "first":
                begun.tell()
                wait()
            return messages[0].content[0].text

        return handle

    handle = start(factory)
    caller = threading.Thread(target=handle.send_message, args=("first",))
    caller.start()
    begun.line()
    second = handle.submit("second")
    go.open()
    assert second.result(30).text == "second"
    caller.join()


def test_what_a_worker_sends_after_its_answer_is_read_soon(orchestrator: Any, gate: Any) -> None:
    """A thread of the agent asks while nobody waits for the agent."""
    asked = gate()

    def factory() -> Callable[[Any], Any]:
        import threading

        import procorch

        ask = procorch.current().ask
        go = threading.Event()

        def later() -> None:
            go.wait()
            asked.tell(ask("other", "a question"))

        threading.Thread(target=later, daemon=True).start()

        def handle(messages):
            go.set()
            return "an answer"

        return handle

    orch = orchestrator()
    orch.add_agent("other", plain)
    orch.add_agent("asks", factory)
    orch.spawn("other")
    handle = orch.spawn("asks")
    assert handle.send_message("go").text == "an answer"
    assert asked.line() == "a question"


class Settling:
    """A monitor that fixes the outcome in the very step in which a request is submitted."""

    def __init__(self, reply: ValueReply[Any], process: Any) -> None:
        self._reply, self._process = reply, process
        at_work = SimpleNamespace(process=SimpleNamespace(inflight=[1]))
        self.instances = {process.spec.key: at_work}

    def take_posted(self) -> None:
        pass

    def submit_to_read(self, request: Request) -> tuple[Any, int]:
        self._reply.settle(ReplyOutcome(body=b""))
        return self._process, self._process.detach_reader()

    def fail(self, fault: BaseException) -> None:
        raise fault


@pytest.mark.timeout(120)
def test_an_outcome_that_this_thread_has_fixed_itself_is_not_waited_for() -> None:
    """Nobody wakes it then, and nothing comes from the worker any more."""
    loop: Loop[Any] = Loop(REAL)
    read, write = os.pipe()
    process = SimpleNamespace(
        spec=SimpleNamespace(key=1),
        detach_reader=lambda: read,
        read=lambda: True,
        attach_reader=lambda: None,
    )
    direct: Direct | None = None
    for number in (1, 2):  # the second request has the waker of the first
        reply: ValueReply[Any] = ValueReply(number, "a", lambda _: None, lambda call: call())
        request = Request(number, 1)
        monitor: Any = Settling(reply, process)
        if direct is None:
            direct = Direct(loop, monitor, monitor)
            direct.allowed = True
        direct._monitor = direct._stepper = monitor
        direct.call(request, reply)
        assert reply.done()
    assert direct is not None
    direct.close()
    loop.close()
    os.close(read)
    os.close(write)
