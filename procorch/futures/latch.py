"""What one thread opens and others wait for, without a lock that is held for a moment.

`threading.Event` and `Condition` hold a lock while they are set or waited for. A user's thread may
be interrupted just then by a signal handler or a finalizer which waits for what the monitor has to
bring, and the monitor would wait for that lock. Here each step is one call into C.
"""

from __future__ import annotations

import contextlib
import threading


class Latch:
    """Opens once."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        """Let all go on who wait, now and later; from any thread, any number of times."""
        with contextlib.suppress(RuntimeError):  # it was open
            self._lock.release()

    def is_open(self) -> bool:
        """Whether `open` was called; False for a moment while somebody goes on."""
        return not self._lock.locked()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most ``timeout`` seconds; whether it is open."""
        longest = threading.TIMEOUT_MAX
        seconds = -1.0 if timeout is None or timeout > longest else max(0.0, timeout)
        if not self._lock.acquire(timeout=seconds):
            return False
        self.open()  # for the next one
        return True
