"""Agents whose work can be seen from outside, wherever they run, and an account of requests."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from procorch import OrchestratedHandle
from tests.ray.conftest import PATIENCE

BEAT = 0.02  # seconds


def beating(log: str) -> Callable[[], Any]:
    """An agent that writes its pid and the time into a file while it works on a request "beat". All
    other requests it answers with its pid."""

    def factory():
        import os
        import time

        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

        def handle(x):
            while x == "beat":
                os.write(fd, f"{os.getpid()} {time.monotonic()}\n".encode())
                time.sleep(BEAT)
            return os.getpid()

        return handle

    return factory


class Beats:
    """What `beating` agents have written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def times(self, pid: int) -> list[float]:
        """When the process has written."""
        lines = self.path.read_text().split("\n") if self.path.exists() else []
        return [float(line.split()[1]) for line in lines if line.startswith(f"{pid} ")]

    def pids(self) -> set[int]:
        """Who has written."""
        lines = self.path.read_text().split("\n") if self.path.exists() else []
        return {int(line.split()[0]) for line in lines if line}

    def begun(self, pid: int | None) -> None:
        """Wait until the process has written."""
        assert pid is not None
        until(lambda: bool(self.times(pid)), f"no beat of {pid}")


def until(holds: Callable[[], bool], otherwise: str, patience: float = PATIENCE) -> float:
    """Wait until something holds that nobody announces; the seconds that it took."""
    began = time.monotonic()
    never = threading.Event()
    while not holds():
        assert time.monotonic() < began + patience, otherwise
        never.wait(0.02)
    return time.monotonic() - began


class Account:
    """Requests, each with the number of its outcomes."""

    def __init__(self) -> None:
        self.outcomes: Counter[int] = Counter()
        self.replies: list[Any] = []
        self._lock = threading.Lock()

    def send(self, handle: OrchestratedHandle, request: Any, **settings: Any) -> Any:
        """Send a request that is accounted for."""
        reply, number = handle.deliver(request, **settings), len(self.replies)

        def settled(_: Any) -> None:
            with self._lock:
                self.outcomes[number] += 1

        reply.add_done_callback(settled)
        self.replies.append(reply)
        return reply

    def close(self) -> None:
        """Each request has had one outcome."""
        for reply in self.replies:
            reply.exception(timeout=PATIENCE)
        expected = dict.fromkeys(range(len(self.replies)), 1)
        until(lambda: dict(self.outcomes) == expected, f"outcomes: {self.outcomes}")


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state in "ZX"
    return True


def slow(seconds: float) -> float:
    """A limit of time; longer where other work shares the processors."""
    load = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    return seconds * max(4 if os.environ.get("CI") else 1, load)
