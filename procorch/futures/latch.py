"""A latch that one thread opens and others wait for, without an internal lock.

`threading.Event` and `Condition` hold a lock while they are set or waited for. A signal handler or
a finalizer may interrupt a user's thread just then and wait for the monitor, while the monitor
waits for that lock. Here each step is one call into C, which nothing interrupts.
"""

from __future__ import annotations

import contextlib
import threading


class Latch:
    """A latch that opens once."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        """Wake all threads that wait, now or later; from any thread, any number of times."""
        with contextlib.suppress(RuntimeError):  # it was open
            self._lock.release()

    def is_open(self) -> bool:
        """Whether `open` was called; briefly False while a waiting thread wakes."""
        return not self._lock.locked()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most ``timeout`` seconds.

        Returns:
            Whether the latch is open.
        """
        longest = threading.TIMEOUT_MAX
        seconds = -1.0 if timeout is None or timeout > longest else max(0.0, timeout)
        if not self._lock.acquire(timeout=seconds):
            return False
        self.open()  # for the next thread that waits
        return True
