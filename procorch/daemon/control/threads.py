"""Threads for calls that block: made when they are needed, used again, bounded in number.

Those of `concurrent.futures` are waited for at the end of the interpreter, so one call that never
returns would keep a daemon from ending. These are not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue


class Threads:
    """At most ``most`` threads.

    Args:
        most: how many there are at most.
        name: what they are called.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def run(self, call: Callable[[], None]) -> bool:
        """Call a function, which must not raise, on a thread; False: none is free, or closed."""
        with self._lock:
            if self._closed:
                return False
            if self._idle:
                self._idle -= 1
                self._queue.put(call)
                return True
            if len(self._threads) >= self._most:
                return False
            thread = threading.Thread(target=self._work, args=(call,), name=self._name, daemon=True)
            self._threads.append(thread)
        thread.start()
        return True

    def _work(self, call: Callable[[], None] | None) -> None:
        while call is not None:
            call()
            del call  # it may hold what a request has brought
            with self._lock:
                self._idle += 1
            call = self._queue.get()

    def close(self, timeout: float) -> bool:
        """End the threads, waiting for calls that run.

        Args:
            timeout: seconds to wait.

        Returns:
            Whether all have ended.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            self._closed = True
            threads = list(self._threads)
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)
