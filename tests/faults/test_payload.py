"""Large payloads between real processes: death at each step (rows 2, 4, 5), hostile frames (18),
shortage (21, 22), replies over the limit (24). Nothing is left behind: descriptors and mappings
are what the fixtures of these tests count."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from procorch import (
    AgentCrashed,
    AgentOrchestrator,
    MessageTooLarge,
    OrchestratedHandle,
    SerializationError,
)
from procorch.wire.payload import STREAMED, THRESHOLD
from tests.faults.replies import PATIENCE, error_of, output, restarting

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("start_method")]

SIZE = 8 * THRESHOLD

Start = Callable[..., OrchestratedHandle]
Make = Callable[..., AgentOrchestrator]
GateMaker = Callable[[], Any]
Factory = Callable[[], Any]


def lives(handle: OrchestratedHandle, pid: int) -> bool:
    """Whether the agent answers, and no new process had to be started for that."""
    return output(handle.deliver(b"x" * SIZE)) == b"x" * SIZE and handle.pid == pid


def held() -> int:
    """Descriptors of payloads that this process has open."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found += "procorch-payload" in os.readlink(f"/proc/self/fd/{name}")
    return found


def mapped() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:procorch-payload")


def nothing_kept(handle: OrchestratedHandle) -> bool:
    """Whether no payload is left here, once the monitor has turned to something else."""
    output(handle.deliver(("no", b"")))
    return (held(), mapped()) == (0, 0)


def echo():
    return lambda x: x


# There and back


def test_an_array_goes_there_and_back_aligned_and_writable(start: Start) -> None:
    handle = start(echo)
    array = np.arange(SIZE // 8)
    came = output(handle.deliver({"array": array, "again": array[::-1].copy()}))
    assert (came["array"] == array).all()
    assert (came["again"] == array[::-1]).all()
    for each in came.values():
        assert each.ctypes.data % 64 == 0
        each += 1
    assert (came["array"] == array + 1).all()
    output(handle.deliver(None))
    assert (held(), mapped()) == (0, 1)
    del came["array"]
    assert mapped() == 1  # the other array lies in the same memory
    came.clear()
    del each
    assert mapped() == 0


def test_replies_that_nobody_has_opened_hold_no_descriptor(start: Start) -> None:
    handle = start(echo)
    replies = [handle.deliver(b"%d" % n * SIZE) for n in range(5)]
    output(handle.deliver(b""))  # they are all there
    assert held() == 0
    assert [output(reply)[:1] for reply in replies] == [b"%d" % n for n in range(5)]


@pytest.mark.queue
def test_a_cancelled_request_gives_its_memory_back(start: Start, gate: GateMaker) -> None:
    busy, go = gate(), gate()
    tell, wait = busy.tell, go.wait

    def factory():
        def handle(x):
            tell()
            wait()
            return len(x)

        return handle

    handle = start(factory)
    running = handle.deliver(b"a" * SIZE)
    busy.line()
    waiting = handle.deliver(b"b" * SIZE)
    assert held() == 2
    waiting.cancel()
    go.open(3)
    assert output(running) == SIZE
    assert output(handle.deliver(b"c")) == 1
    assert output(handle.deliver(b"cc")) == 2
    assert held() == 0  # since the monitor took up another reply


def test_questions_between_agents_pass_through_unopened(orchestrator: Make) -> None:
    def asking():
        import procorch

        return lambda x: procorch.current().ask("b", x + x)

    orch = orchestrator()
    orch.add_agent("a", asking)
    orch.add_agent("b", lambda: lambda x: x + b"!")
    orch.spawn("b")
    handle = orch.spawn("a")
    assert output(handle.deliver(b"x" * SIZE)) == b"x" * (2 * SIZE) + b"!"
    assert output(handle.deliver(b"")) == b"!"
    assert (held(), mapped()) == (0, 0)


def test_a_large_exception_arrives_whole(start: Start) -> None:
    def factory():
        def handle(x):
            raise ValueError(x)

        return handle

    error = error_of(start(factory).deliver(b"x" * SIZE))
    assert isinstance(error.__cause__, ValueError)
    assert error.__cause__.args == (b"x" * SIZE,)


# Death at each step


@pytest.mark.parametrize("size", [SIZE, STREAMED + 12345])
def test_a_second_attempt_gets_the_request_as_it_was(start: Start, size: int) -> None:
    def factory():
        import os

        import procorch

        def handle(array):
            array += 1
            if procorch.current().generation == 1:
                os._exit(3)
            return array

        return handle

    array = np.zeros(size // 8)
    came = output(start(factory, supervisor=restarting).submit(array, retries=1))
    assert (came == 1).all()
    assert (array == 0).all()


@pytest.fixture
def dying() -> Factory:
    """An agent that dies where its request says, at the sending of the reply at the earliest."""

    def factory():
        import os
        import socket

        from procorch.wire import payload

        def die(*_):
            os._exit(7)

        def handle(x):
            step, content = x
            send = socket.socket.sendmsg

            def torn(sock, buffers, ancillary=(), *rest):
                send(sock, [b"".join(buffers)[:step]], ancillary, *rest)
                os._exit(7)

            def sent(sock, buffers, ancillary=(), *rest):
                send(sock, buffers, ancillary, *rest)
                os._exit(7)

            match step:
                case "running":
                    os._exit(7)
                case "writing":
                    payload.os.write = die
                case "written":
                    payload.fcntl.fcntl = die
                case "sending":
                    socket.socket.sendmsg = die
                case "sent":
                    socket.socket.sendmsg = sent
                case int():
                    socket.socket.sendmsg = torn
            return content

        return handle

    return factory


@pytest.mark.parametrize("step", ["running", "writing", "written", "sending", 1, 28, 30])
def test_death_on_the_way_to_the_reply_is_one_crash(
    start: Start, dying: Factory, step: Any
) -> None:
    handle = start(dying, supervisor=restarting)
    error = error_of(handle.deliver((step, b"x" * SIZE)))
    assert isinstance(error, AgentCrashed)
    assert (error.exitcode, error.may_have_executed) == (7, True)
    assert output(handle.deliver(("no", b"y" * SIZE))) == b"y" * SIZE
    assert nothing_kept(handle)


def test_a_reply_that_was_sent_is_delivered_whatever_becomes_of_its_worker(
    start: Start, dying: Factory
) -> None:
    handle = start(dying, supervisor=restarting)
    assert output(handle.deliver(("sent", b"x" * SIZE))) == b"x" * SIZE
    # Its death may come to light only when the next request has been written to it.
    assert output(handle.deliver(("no", b"y" * SIZE), retries=1)) == b"y" * SIZE


def test_death_before_the_request_is_read(start: Start) -> None:
    handle = start(echo, supervisor=restarting)
    pid = handle.pid
    os.kill(pid, signal.SIGSTOP)
    replies = [handle.deliver(b"%d" % n * SIZE) for n in range(3)]
    os.kill(pid, signal.SIGKILL)
    errors = [reply.exception(PATIENCE) for reply in replies]
    for number, (reply, error) in enumerate(zip(replies, errors, strict=True)):
        if error is None:
            assert output(reply) == b"%d" % number * SIZE
        else:
            assert isinstance(error, AgentCrashed)
            assert not error.may_have_executed
    assert nothing_kept(handle)


def test_many_deaths_lose_nothing_and_leave_nothing(start: Start) -> None:
    def factory():
        import os

        def handle(x):
            number, content = x
            if number != "no" and number % 4 == 3:
                os._exit(1)
            return number, content[:THRESHOLD]

        return handle

    handle = start(factory, supervisor=restarting)
    content = b"x" * (2 * THRESHOLD)
    replies = [handle.deliver((number, content)) for number in range(16)]
    for number, reply in enumerate(replies):
        if number % 4 == 3:
            assert isinstance(error_of(reply), AgentCrashed)
        else:
            assert output(reply) == (number, content[:THRESHOLD])
    assert nothing_kept(handle)


# A hostile worker


@pytest.mark.parametrize(
    ("size", "memory", "said"),
    [
        (1 << 40, "sealed", "more than the"),
        (SIZE, "sealed", "bytes of memory for a body of"),
        (SIZE, "open", "not sealed memory"),
        (SIZE, "none", "without the descriptor"),
    ],
)
def test_a_hostile_frame_ends_its_worker_and_costs_no_memory(
    start: Start, size: int, memory: str, said: str
) -> None:
    def factory():
        import gc
        import os
        import socket

        from procorch.wire import payload
        from procorch.wire.channel import Channel
        from procorch.wire.frame import Kind, announce

        def handle(x):
            size, memory = x
            if size == "no":
                return memory
            (channel,) = [each for each in gc.get_objects() if type(each) is Channel]
            if memory == "sealed":
                fds = [payload.pack([b"x" * (1 << 20)])]
            elif memory == "open":
                fds = [payload.Lease(os.open("/dev/zero", os.O_RDWR), 0)]
            else:
                fds = []
            data = announce(Kind.REPLY, 1, 1, b"", size)
            with socket.socket(fileno=os.dup(channel.fileno())) as sock:
                socket.send_fds(sock, [data], [each.fileno() for each in fds])
            while True:
                pass

        return handle

    handle = start(factory, supervisor=restarting)
    assert said in str(error_of(handle.deliver((size, memory))))
    assert nothing_kept(handle)


# Limits


def test_what_is_over_the_limit_fails_alone(orchestrator: Make) -> None:
    def factory():
        import numpy as np

        return lambda x: np.zeros(x, np.uint8) if isinstance(x, int) else x

    orch = orchestrator()  # 1 GiB
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    pid = handle.pid
    error = error_of(handle.deliver(1 << 30))
    assert isinstance(error, MessageTooLarge)
    assert error.what == "reply"
    with pytest.raises(MessageTooLarge):
        handle.deliver(np.zeros(1 << 30, np.uint8))
    assert lives(handle, pid)


# Shortage


def test_a_worker_without_room_for_memory_replies_through_the_socket(start: Start) -> None:
    def factory():
        import resource

        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        return lambda x: x

    handle = start(factory)
    assert lives(handle, handle.pid)


def test_a_request_too_large_for_the_addresses_of_a_worker_fails_alone(start: Start) -> None:
    handle = start(echo, address_space_limit="1G")
    pid = handle.pid
    error = error_of(handle.deliver(np.zeros(1000 << 20, np.uint8)))
    assert isinstance(error, SerializationError)
    assert "cannot be mapped" in str(error)
    assert lives(handle, pid)


def test_a_request_for_which_its_worker_has_no_descriptor_left_fails_alone(start: Start) -> None:
    def factory():
        import contextlib
        import os

        taken = []

        def handle(x):
            if x == "take":
                with contextlib.suppress(OSError):
                    while True:
                        taken.append(os.dup(0))
            elif x == "give":
                while taken:
                    os.close(taken.pop())
            return x

        return handle

    handle = start(factory)
    pid = handle.pid
    assert output(handle.deliver("take")) == "take"
    error = error_of(handle.deliver(b"x" * SIZE))
    assert isinstance(error, SerializationError)
    assert "no descriptors left" in str(error)
    assert output(handle.deliver("give")) == "give"
    assert lives(handle, pid)


@pytest.fixture
def crowded() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Use up the descriptors of this process."""

    @contextlib.contextmanager
    def use_up() -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, hard))
        taken: list[int] = []
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            yield
        finally:
            for fd in taken:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    return use_up


def test_a_program_without_descriptors_sends_through_the_socket_and_loses_one_reply(
    start: Start, crowded: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    def factory():
        return lambda x: x if isinstance(x, bytes) else x[:10]

    handle = start(factory)
    pid = handle.pid
    with crowded():
        assert output(handle.deliver([b"x"] * SIZE)) == [b"x"] * 10
        lost = error_of(handle.deliver(b"x" * SIZE))
        assert isinstance(lost, SerializationError)
        assert lost.agent == "a"
        assert "no descriptors left" in str(lost)
    assert lives(handle, pid)
