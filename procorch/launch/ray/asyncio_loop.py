"""The event loop of asyncio as the loop that launchers and links use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class AsyncioLoop:
    """See `launch.base.Watcher`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """See `Watcher.watch`."""
        self._loop.add_reader(fd, callback)

    def watch_writable(self, fd: int, callback: Callable[[], None]) -> None:
        """See `Watcher.watch_writable`."""
        self._loop.add_writer(fd, callback)

    def unwatch_writable(self, fd: int) -> None:
        """See `Watcher.unwatch_writable`."""
        self._loop.remove_writer(fd)

    def unwatch(self, fd: int) -> None:
        """See `Watcher.unwatch`."""
        if fd >= 0:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """See `Watcher.call_later`."""
        self._loop.call_later(delay, callback)
