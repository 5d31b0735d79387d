"""Payloads that are so large that a thread moves them: death, cancellation and shortage while it is
at work. The thread must end with the transfer, and the monitor must not wait for it.

With one start method only: the socket is the same with both.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from procorch import (
    AgentCrashed,
    AgentOrchestrator,
    OrchestratedHandle,
    RequestTimeout,
)
from procorch.wire.payload import STREAMED
from tests.faults.replies import PATIENCE, error_of, output, restarting

pytestmark = pytest.mark.fault

SIZE = STREAMED + 12345

Start = Callable[..., OrchestratedHandle]
Make = Callable[..., AgentOrchestrator]
Factory = Callable[[], Any]


def transfers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "procorch-transfer"]


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    yield
    for thread in transfers():
        thread.join(PATIENCE)
        assert not thread.is_alive()


def lives(handle: OrchestratedHandle, pid: int) -> bool:
    """Whether the agent answers, and no new process had to be started for that."""
    return output(handle.deliver(b"y" * SIZE)) == b"y" * SIZE and handle.pid == pid


def echo():
    return lambda x: x


@pytest.mark.parametrize(
    "make",
    [
        lambda: os.urandom(SIZE),
        lambda: bytearray(os.urandom(SIZE)),
        lambda: "0123456789" * (SIZE // 10),
        lambda: "öäü€" * (SIZE // 8),
        lambda: {"a": [b"x" * (SIZE // 2)], "b": ("z" * (SIZE // 2), bytearray(SIZE // 2))},
    ],
    ids=["bytes", "bytearray", "text", "other text", "inside"],
)
def test_there_and_back(start: Start, make: Callable[[], Any]) -> None:
    handle = start(echo)
    payload = make()
    came = output(handle.deliver([payload, payload]))
    assert type(came[0]) is type(payload)
    assert came[0] == payload
    assert came[1] is came[0]


def test_arrays_come_back_aligned_and_writable(start: Start) -> None:
    handle = start(echo)
    array = np.arange(SIZE // 8)
    came = output(handle.deliver({"array": array, "again": array[::-1].copy()}))
    assert (came["array"] == array).all()
    assert (came["again"] == array[::-1]).all()
    for each in came.values():
        assert each.ctypes.data % 64 == 0
        each += 1


def test_what_is_done_to_an_object_after_it_was_sent_changes_nothing(start: Start) -> None:
    handle = start(echo)
    os.kill(handle.pid, signal.SIGSTOP)
    array, buffer = np.zeros(SIZE // 8), bytearray(SIZE)
    replies = [handle.submit(array), handle.submit(buffer)]
    array += 1
    buffer[:] = b"x" * SIZE
    buffer += b"x"
    os.kill(handle.pid, signal.SIGCONT)
    assert (output(replies[0]) == 0).all()
    assert output(replies[1]) == bytes(SIZE)


def test_questions_between_agents(orchestrator: Make) -> None:
    def asking():
        import procorch

        return lambda x: procorch.current().ask("b", x + x)

    orch = orchestrator()
    orch.add_agent("a", asking)
    orch.add_agent("b", lambda: lambda x: x + b"!")
    orch.spawn("b")
    assert output(orch.spawn("a").deliver(b"x" * SIZE)) == b"x" * (2 * SIZE) + b"!"


@pytest.fixture
def dying() -> Factory:
    """An agent that dies when it has sent as many bytes of its reply as its request says."""

    def factory():
        import os
        import socket

        def handle(x):
            sent, content = x
            send = socket.socket.sendmsg

            def torn(sock, buffers, *rest):
                send(sock, [b"".join(buffers)[:sent]], *rest)
                os._exit(7)

            if sent is not None:
                socket.socket.sendmsg = torn
            return content

        return handle

    return factory


@pytest.mark.parametrize("sent", [100, 1 << 20, SIZE])
def test_death_in_the_middle_of_the_reply_is_one_crash(
    start: Start, dying: Factory, sent: int
) -> None:
    handle = start(dying, supervisor=restarting)
    error = error_of(handle.deliver((sent, b"x" * SIZE)))
    assert isinstance(error, AgentCrashed)
    assert (error.exitcode, error.may_have_executed) == (7, True)
    assert lives_again(handle)


def lives_again(handle: OrchestratedHandle) -> bool:
    return output(handle.deliver((None, b"y" * SIZE))) == b"y" * SIZE


def test_a_reply_that_was_sent_is_delivered_whatever_becomes_of_its_worker(
    start: Start, dying: Factory
) -> None:
    handle = start(dying, supervisor=restarting)
    assert output(handle.deliver((2 * SIZE, b"x" * SIZE))) == b"x" * SIZE


def test_death_in_the_middle_of_the_request(start: Start) -> None:
    handle = start(echo, supervisor=restarting)
    os.kill(handle.pid, signal.SIGSTOP)
    replies = [handle.deliver(b"%d" % n * SIZE) for n in range(2)]
    os.kill(handle.pid, signal.SIGKILL)
    for reply in replies:
        error = reply.exception(PATIENCE)
        if error is not None:
            assert isinstance(error, AgentCrashed)
            assert not error.may_have_executed
    assert output(handle.deliver(b"z")) == b"z"


def test_a_worker_that_reads_nothing_delays_nobody_else(orchestrator: Make) -> None:
    orch = orchestrator()
    orch.add_agent("deaf", echo)
    orch.add_agent("other", echo)
    deaf, other = orch.spawn("deaf"), orch.spawn("other")
    os.kill(deaf.pid, signal.SIGSTOP)
    reply = deaf.deliver(b"x" * SIZE)
    assert output(other.deliver(b"y" * SIZE)) == b"y" * SIZE
    assert not reply.done()
    os.kill(deaf.pid, signal.SIGCONT)
    assert output(reply) == b"x" * SIZE


def test_a_request_that_times_out_half_sent_leaves_the_stream_whole(start: Start) -> None:
    handle = start(echo)
    pid = handle.pid
    os.kill(pid, signal.SIGSTOP)
    late = handle.submit(b"x" * SIZE, timeout=0.2)
    gone = handle.submit(b"z" * SIZE)
    gone.cancel()
    assert isinstance(error_of(late), RequestTimeout)
    os.kill(pid, signal.SIGCONT)
    assert lives(handle, pid)


def test_without_a_thread_the_monitor_moves_the_data(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    handle = start(echo)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        assert lives(handle, handle.pid)
    assert lives(handle, handle.pid)
