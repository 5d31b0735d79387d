"""psutil's part: how much memory a worker holds. Never how its death is noticed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import psutil

from procorch.launch.base import Watcher

INTERVAL = 0.05
"""Seconds between two looks at the workers that have a memory limit."""


class Sampler:
    """Watches the resident size of workers that have a limit; costs nothing while there are none.

    A sample is advisory: a worker may grow and shrink again between two of them.

    Args:
        exceeded: called with a worker's key, generation and the bytes seen.
    """

    def __init__(self, loop: Watcher, exceeded: Callable[[int, int, int], None]) -> None:
        self._loop = loop
        self._exceeded = exceeded
        self._watched: dict[int, tuple[int, psutil.Process, int]] = {}

    def watch(self, key: int, generation: int, pid: int, limit: int) -> None:
        """Watch a new worker; ``limit`` in bytes."""
        with contextlib.suppress(psutil.NoSuchProcess):  # gone already; its pidfd will tell
            if not self._watched:
                self._loop.call_later(INTERVAL, self._look)
            self._watched[key] = (generation, psutil.Process(pid), limit)

    def forget(self, key: int) -> None:
        """The worker has ended."""
        self._watched.pop(key, None)

    def _look(self) -> None:
        for key, (generation, process, limit) in list(self._watched.items()):
            with contextlib.suppress(psutil.NoSuchProcess):
                resident = process.memory_info().rss
                if resident > limit:
                    self._exceeded(key, generation, resident)
        if self._watched:
            self._loop.call_later(INTERVAL, self._look)
