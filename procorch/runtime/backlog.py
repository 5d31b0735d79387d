"""Output of workers that waits to be written: a queue between the monitor and a slow writer.

The monitor thread must not wait for a terminal, a pipe, a disk or code of the user. So another
thread writes, and a `Backlog` is between the two:

* *A slow writer gets everything.* While `BACKLOG` bytes wait, the monitor does not read the pipes
  (it checks again every `PAUSE` seconds). The workers wait, like any program that writes faster
  than it is read.
* *A writer that has stopped delays the workers for some seconds only.* If nothing could be written
  for so long, the oldest bytes are dropped. The writer learns how many, at their place. The time in
  which this whole process was stopped does not count.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

from procorch.clock import Clock
from procorch.runtime.serial_executor import SerialExecutor

BACKLOG = 1 << 20
PAUSE = 0.002
PATIENCE = 1.0
_LONGEST_PAUSE = 0.1
"""Seconds between two checks that count as time in which the writer could have written."""

To = TypeVar("To")
"""What the bytes are written to, or where they come from."""
_Call: TypeAlias = Callable[[], None]


class Backlog(ABC, Generic[To]):
    """Writes what it is given on a thread of its own, in order.

    Args:
        clock: is told of pending calls. The times in this module are real time in any case, because
            terminals and disks are real.
        patience: seconds after which a writer that takes nothing has stopped.
    """

    def __init__(self, clock: Clock, patience: float = PATIENCE) -> None:
        self._thread = SerialExecutor("procorch-output", clock)
        self._patience = patience
        self._lock = threading.Lock()
        self._waiting: deque[tuple[To, bytes] | _Call] = deque()
        self._size = 0
        self._lost: dict[To, int] = {}
        self._writing = False
        self._moved = self._checked = self._waited = 0.0

    @abstractmethod
    def _write(self, to: To, data: bytes) -> None:
        """Write ``data``; on the thread. It raises nothing."""

    @abstractmethod
    def _tell(self, to: To, lost: int) -> None:
        """Tell that ``lost`` bytes are missing here; on the thread. It raises nothing."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, to: To, data: bytes) -> float:
        """Have ``data`` written; returns at once.

        Returns:
            Seconds to pause before more is read; after a pause it is called with ``b""`` again.
        """
        now = time.monotonic()
        with self._lock:
            idle = bool(data) and self._append((to, data), now)
            self._size += len(data)
            behind = self._size > BACKLOG
            if behind:
                self._waited += min(now - self._checked, _LONGEST_PAUSE)
            self._checked = now
            stuck = behind and self._waited > self._patience
            if stuck:
                self._drop()
        if idle:
            self._thread.call(self._write_all)
        return PAUSE if behind and not stuck else 0.0

    def after(self, call: _Call) -> None:
        """Have ``call`` made on the thread, after everything that was put so far; it raises
        nothing."""
        with self._lock:
            idle = self._append(call, time.monotonic())
        if idle:
            self._thread.call(self._write_all)

    @property
    def is_stuck(self) -> bool:
        """Whether the writer has taken nothing for long, though something waits."""
        with self._lock:
            return self._writing and time.monotonic() - self._moved > self._patience

    def _append(self, item: tuple[To, bytes] | _Call, now: float) -> bool:
        """Whether the thread has to be woken for it."""
        self._waiting.append(item)
        idle, self._writing = not self._writing, True
        if idle:
            self._moved, self._waited = now, 0.0
        return idle

    def _drop(self) -> None:
        """Drop the oldest bytes; calls stay."""
        calls: list[_Call] = []
        while self._size > BACKLOG and self._waiting:
            item = self._waiting.popleft()
            if not isinstance(item, tuple):
                calls.append(item)
                continue
            to, dropped = item
            self._size -= len(dropped)
            self._lost[to] = self._lost.get(to, 0) + len(dropped)
        self._waiting.extendleft(reversed(calls))

    def _write_all(self) -> None:
        while True:
            with self._lock:
                lost, self._lost = self._lost, {}
                item = self._waiting.popleft() if self._waiting else None
                if item is None and not lost:
                    self._writing = False
                    return
            for to, count in lost.items():
                self._tell(to, count)
            size = 0
            if isinstance(item, tuple):
                to, data = item
                size = len(data)
                self._write(to, data)
            elif item is not None:
                item()
            with self._lock:
                self._size -= size
                self._moved, self._waited = time.monotonic(), 0.0

    def close(self, timeout: float) -> None:
        """Write what waits, for at most ``timeout`` seconds."""
        self._thread.close(timeout)
