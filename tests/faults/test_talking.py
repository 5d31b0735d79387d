"""Rows 18, 19, 22 and 24 of the fault matrix: what goes over the wire, and what does not."""

from __future__ import annotations

import os
import signal
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from procorch import (
    AgentCrashed,
    AgentHung,
    AgentOrchestrator,
    DefaultSupervisor,
    MessageTooLarge,
    OrchestratedHandle,
    Shutdown,
)

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("start_method")]

AT_ONCE = 2.0  # seconds
MiB = 1 << 20
QUICK = Shutdown(cooperate=0.05, interrupt=0.05, grace=0.2, terminate=0.2)

Make = Callable[..., AgentOrchestrator]
Start = Callable[..., OrchestratedHandle]
Factory = Callable[[], Any]


def header(
    magic: bytes = b"pO", version: int = 1, kind: int = 4, body: int = 0, head: int = 0
) -> bytes:
    parts = [magic, bytes([version, kind]), (1).to_bytes(4), (1).to_bytes(8)]
    return b"".join(parts) + head.to_bytes(4) + body.to_bytes(8)


@pytest.fixture
def babbling() -> Factory:
    """An agent that writes the bytes it is sent in place of its reply."""

    def factory():
        import os
        import socket
        import threading

        def handle(x):
            if not isinstance(x, tuple):
                return os.getpid()
            junk, then = x
            send = socket.socket.send

            def babble(sock, data, *flags):
                send(sock, junk)
                if then == "die":
                    os._exit(5)
                threading.Event().wait()

            socket.socket.send = babble
            return None

        return handle

    return factory


@pytest.mark.parametrize(
    ("junk", "words"),
    [
        (header(magic=b"HT"), "magic"),
        (header(version=9), "version"),
        (header(kind=99), "kind"),
        (header(body=1 << 40), str(1 << 40)),
        (header(head=(1 << 32) - 1), str((1 << 32) - 1)),
        (os.urandom(4096), ""),
    ],
    ids=["magic", "version", "kind", "length 2^40", "head 2^32", "noise"],
)
def test_row_18_a_worker_that_talks_junk_is_ended_and_replaced(
    start: Start, babbling: Factory, junk: bytes, words: str
) -> None:
    handle = start(babbling, supervisor=DefaultSupervisor(), shutdown=QUICK)
    pid, before = handle.pid, psutil.Process().memory_info().rss
    error = handle.deliver((junk, "stay")).exception(timeout=5)
    assert isinstance(error, AgentCrashed)
    assert words in str(error)
    assert error.may_have_executed
    assert handle.deliver("go").result().output == handle.pid != pid
    assert psutil.Process().memory_info().rss < before + 50 * MiB


def test_row_18_a_truncated_frame_is_a_crash(start: Start, babbling: Factory) -> None:
    handle = start(babbling, supervisor=DefaultSupervisor())
    error = handle.deliver((header(body=1000) + b"x" * 10, "die")).exception(timeout=5)
    assert isinstance(error, AgentCrashed)
    assert error.exitcode == 5
    assert handle.deliver("go").result().output == handle.pid


@pytest.mark.parametrize("size", [1000, 500 * MiB], ids=["small", "large"])
def test_row_18_a_torn_frame_of_a_living_worker_is_a_hang_and_takes_no_memory(
    start: Start, babbling: Factory, size: int
) -> None:
    handle = start(babbling, supervisor=DefaultSupervisor(), heartbeat_timeout=0.3, shutdown=QUICK)
    before = psutil.Process().memory_info().rss
    reply = handle.deliver((header(body=size) + b"x" * 10, "stay"))
    error = reply.exception(timeout=10)
    assert isinstance(error, AgentHung)
    assert psutil.Process().memory_info().rss < before + 50 * MiB
    assert handle.deliver("go").result().output == handle.pid


@pytest.mark.queue
def test_row_19_a_worker_that_never_reads_bounds_its_queue_and_holds_up_nobody_else(
    orchestrator: Make,
) -> None:
    def factory():
        return lambda x: len(x)

    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("deaf", factory, channel_buffer=4, shutdown=QUICK)
    orch.add_agent("other", factory)
    deaf, other = orch.spawn("deaf"), orch.spawn("other")
    os.kill(deaf.pid or 0, signal.SIGSTOP)
    payload = b"x" * (4 * MiB)  # more than the socket takes
    sent: list[Any] = []

    def send() -> None:
        for _ in range(10):
            sent.append(deaf.deliver(payload))

    sender = threading.Thread(target=send)
    sender.start()
    for n in range(100):
        before = time.monotonic()
        assert other.deliver("x" * n).result(timeout=AT_ONCE).output == n
        assert time.monotonic() - before < AT_ONCE
    assert deaf.info().queue <= 4
    assert len(sent) < 10  # the sender waits for room
    os.kill(deaf.pid or 0, signal.SIGCONT)
    sender.join()
    assert [reply.result().output for reply in sent] == [len(payload)] * 10
    assert deaf.generation == 1


# In a namespace of its own the program sees full disks, and only it does.
FULL = textwrap.dedent("""
    import ctypes, os, sys
    CLONE_NEWNS, CLONE_NEWUSER, MS_NOSUID = 0x20000, 0x10000000, 2
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0:
        for name, text in (
            ("uid_map", f"0 {uid} 1"), ("setgroups", "deny"), ("gid_map", f"0 {gid} 1")
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        os.mkdir("full")
        for place in ("full", "/dev/shm"):
            kind, size = b"tmpfs", b"size=4k,nr_inodes=8"
            if libc.mount(b"none", place.encode(), kind, MS_NOSUID, size) != 0:
                raise OSError(ctypes.get_errno(), "mount")
            with open(os.path.join(place, "full"), "wb", 0) as file:
                try:
                    while True:
                        file.write(b"x" * 4096)
                except OSError:
                    pass
        os.environ["TMPDIR"] = os.path.abspath("full")
    else:
        # Not allowed here: then there is at least no directory for temporary files.
        os.environ["TMPDIR"] = "/proc/nowhere"
        print("no namespace", file=sys.stderr)
    from procorch import AgentOrchestrator
    with AgentOrchestrator() as orch:
        orch.add_agent("a", lambda: lambda x: x * 2)
        handle = orch.spawn("a")
        assert handle.deliver("x" * 1000).result().output == "x" * 2000
        print("answered")
""")


def test_row_22_a_full_disk_and_full_shared_memory_do_not_matter_to_small_requests(
    run_python: Callable[..., Any],
) -> None:
    done = run_python(FULL, how="-c")
    assert done.stdout == "answered\n", done.stderr
    assert done.returncode == 0


def test_row_24_a_reply_of_a_gigabyte_fails_its_request_alone(start: Start) -> None:
    handle = start(lambda: lambda x: bytes(x))
    error = handle.deliver((1 << 30) + MiB).exception()
    assert isinstance(error, MessageTooLarge)
    assert error.size > error.limit
    assert handle.deliver(3).result().output == bytes(3)
    assert handle.generation == 1
