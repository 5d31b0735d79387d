"""The measured process: reads orders from a socket, performs them, writes reports."""

from __future__ import annotations

import marshal
import mmap
import os
import sys

from .subject import Subject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PAGE = 16
"""Bytes of the page: phase, index of the request, number of the call."""
PHASES = ("start", "cold", "warm", "loop", "way")
_SIZE = 8


def main() -> None:
    """Serve the socket and the page whose descriptors are on the command line."""
    sock, memory = int(sys.argv[2]), int(sys.argv[3])
    sys.argv = [""]
    os.set_inheritable(sock, False)
    page = mmap.mmap(memory, PAGE)
    os.close(memory)
    calls = 0

    def tick(phase: str, index: int) -> None:
        nonlocal calls
        calls += 1
        page[:] = (
            bytes((PHASES.index(phase),)) + index.to_bytes(7, "big") + calls.to_bytes(8, "big")
        )

    subject = Subject(tick)
    while True:
        order = receive(sock)
        if order is None:
            return
        report = subject.perform(order)
        tick("start", 0)
        send(sock, report)
        if order["do"] == "close":
            return


def send(fd: int, message: dict[str, Any]) -> None:
    """Write one message."""
    body = marshal.dumps(message, 4)
    rest = memoryview(len(body).to_bytes(_SIZE, "big") + body)
    while rest:
        rest = rest[os.write(fd, rest) :]


def receive(fd: int, wait: Callable[[], bool] | None = None) -> dict[str, Any] | None:
    """Read one message; None when the other side is gone.

    Args:
        wait: for a descriptor that does not block: waits, and says whether there is more to read.
    """
    head = _read(fd, _SIZE, wait)
    body = None if head is None else _read(fd, int.from_bytes(head, "big"), wait)
    return None if body is None else marshal.loads(body)


def _read(fd: int, size: int, wait: Callable[[], bool] | None) -> bytes | None:
    parts = []
    while size:
        try:
            part = os.read(fd, min(size, 1 << 20))
        except ConnectionResetError:
            return None
        except BlockingIOError:
            if wait is not None and wait():
                continue
            return None
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
