"""Measures the memory of workers that have a limit. It does not detect deaths.

It runs on a thread of its own: the kernel may be slow to measure a process that is large or maps
memory at the moment, and a worker may have thousands of descendants. The thread uses at most a
tenth of one core, so it measures less often where that takes long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from procorch import memory

_log = logging.getLogger("procorch")

INTERVAL = 0.05
"""The shortest time in seconds between two measurements of the workers."""
_SHARE = 10
"""The thread uses one part in this many of the time of a core."""


class _Watched(NamedTuple):
    pid: int
    limit: int


class Sampler:
    """Watches the memory of workers that have a limit; without any it has no thread.

    A worker may grow and shrink again between two samples, unnoticed.

    Args:
        exceeded: called on the sampler's thread with a worker's key, generation and bytes.
    """

    def __init__(self, exceeded: Callable[[int, int, int], None]) -> None:
        self._exceeded = exceeded
        self._watched: dict[tuple[int, int], _Watched] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._changed = threading.Condition(threading.Lock())

    def watch(self, key: int, generation: int, pid: int, limit: int) -> None:
        """Watch a new worker and its descendants; ``limit`` in bytes."""
        with self._changed:
            self._watched[key, generation] = _Watched(pid, limit)
            self._changed.notify()
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="procorch-memory", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                _log.error(
                    "cannot start the thread for memory limits; the next worker tries again: %s",
                    error,
                )
            else:
                self._thread = thread

    def forget(self, key: int, generation: int) -> None:
        """Stop watching a worker that has ended."""
        with self._changed:
            self._watched.pop((key, generation), None)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        wait = INTERVAL
        while (watched := self._next(wait)) is not None:
            began = time.thread_time()
            for key, each in watched.items():
                seen = memory.held(each.pid, each.limit)
                # The worker may have ended, and another process may have its pid.
                if seen > each.limit and self._watched.get(key) == each:
                    self._exceeded(*key, seen)
            wait = max(INTERVAL, (time.thread_time() - began) * (_SHARE - 1))

    def _next(self, wait: float) -> dict[tuple[int, int], _Watched] | None:
        """Wait for the next measurement; returns the workers, None after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._watched or self._closed)
            self._changed.wait_for(lambda: self._closed, wait)
            return None if self._closed else dict(self._watched)
