"""Looks at the memory of workers that have a limit. Never how a worker's death is noticed.

A thread of its own does it: the kernel may take its time with a process that is large or is just
mapping memory, and a worker may have thousands of descendants. The thread uses at most a tenth of
one core, so that it looks less often where a look takes long.
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
"""Seconds between two looks at the workers, at least."""
_SHARE = 10
"""One part in so many of a core's time is used."""


class _Watched(NamedTuple):
    generation: int
    pid: int
    limit: int


class Sampler:
    """Watches the memory of workers that have a limit; costs nothing while there are none.

    A sample is advisory: a worker may grow and shrink again between two of them.

    Args:
        exceeded: called on the sampler's thread with a worker's key, generation and the bytes seen.
    """

    def __init__(self, exceeded: Callable[[int, int, int], None]) -> None:
        self._exceeded = exceeded
        self._watched: dict[int, _Watched] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._changed = threading.Condition(threading.Lock())

    def watch(self, key: int, generation: int, pid: int, limit: int) -> None:
        """Watch a new worker and its descendants; ``limit`` in bytes."""
        with self._changed:
            self._watched[key] = _Watched(generation, pid, limit)
            self._changed.notify()
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="procorch-memory", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                _log.error("no thread to watch memory limits with (tried again later): %s", error)
            else:
                self._thread = thread

    def forget(self, key: int) -> None:
        """The worker has ended."""
        with self._changed:
            self._watched.pop(key, None)

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
                # Its number may be another process's by now.
                if seen > each.limit and self._watched.get(key) == each:
                    self._exceeded(key, each.generation, seen)
            wait = max(INTERVAL, (time.thread_time() - began) * (_SHARE - 1))

    def _next(self, wait: float) -> dict[int, _Watched] | None:
        """The workers to look at, when there are any and their time has come; None: it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._watched or self._closed)
            self._changed.wait_for(lambda: self._closed, wait)
            return None if self._closed else dict(self._watched)
