"""The monitor's event loop: descriptors, an inbox for other threads, timers.

Only `Loop.post` may be called from other threads. The wake-up costs a system call only when the
loop sleeps or is about to: the poster appends first and looks at `_asleep` second, the loop sets
`_asleep` first and looks at the inbox second, so one of the two always sees the other.

Two races over descriptor numbers, which the system gives out again as soon as they are free:

* *Within one round of the loop* a callback may end a worker and start the next, which gets the
  numbers of the old one. What was ready in that round was the old one's: hence `_Watch.live`.
* *A poster that is late* may find the loop closed after it saw it asleep. It must not write its
  eight bytes into whatever has the number now: hence `_waking`.
"""

from __future__ import annotations

import os
import selectors
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from procorch.runtime.clock import Clock
from procorch.supervision.timers import Timers

T = TypeVar("T")


class _Watch:
    """Who waits for a descriptor; not ``live`` once nobody does."""

    __slots__ = ("live", "readable", "writable")

    def __init__(self, readable: Callable[[], None]) -> None:
        self.live = True
        self.readable = readable
        self.writable: Callable[[], None] | None = None


class Loop(Generic[T]):
    """Waits for descriptors, posted items and times.

    Args:
        clock: tells the time, and waits for it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._watches: dict[int, _Watch] = {}
        self._inbox: deque[T] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._asleep = False
        self._waking = threading.Lock()
        self._closed = False
        self._later: Timers[Callable[[], None]] = Timers()
        self._selector.register(self._wake, selectors.EVENT_READ)

    def post(self, item: T) -> None:
        """Hand an item to the loop's thread; from any thread."""
        self._inbox.append(item)
        if self._asleep:
            self._asleep = False
            self._rouse()

    def _rouse(self) -> None:
        with self._waking:
            if not self._closed:
                os.eventfd_write(self._wake, 1)

    def take(self) -> T | None:
        """The next posted item."""
        return self._inbox.popleft() if self._inbox else None

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """See `launch.base.Watcher`."""
        watch = self._watches[fd] = _Watch(callback)
        self._selector.register(fd, selectors.EVENT_READ, watch)

    def watch_writable(self, fd: int, callback: Callable[[], None]) -> None:
        """See `launch.base.Watcher`."""
        watch = self._watches[fd]
        watch.writable = callback
        self._selector.modify(fd, selectors.EVENT_READ | selectors.EVENT_WRITE, watch)

    def unwatch_writable(self, fd: int) -> None:
        """See `launch.base.Watcher`."""
        watch = self._watches[fd]
        watch.writable = None
        self._selector.modify(fd, selectors.EVENT_READ, watch)

    def unwatch(self, fd: int) -> None:
        """See `launch.base.Watcher`."""
        watch = self._watches.pop(fd, None)
        if watch is not None:
            watch.live = False
            self._selector.unregister(fd)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """See `launch.base.Watcher`."""
        self._later.arm(callback, self._clock.now() + delay)

    def wait(self, until: float | None, first: Callable[[], None]) -> None:
        """Wait for something to happen, at most ``until`` that time, and call who waits for it.

        Args:
            first: called before all others, to `take` what was posted. A cancel that was posted
                before a worker wrote its reply is known before that reply is read (seed: biased).
        """
        times = [at for at in (self._later.next(), until) if at is not None]
        self._asleep = True
        if self._inbox:
            ready = self._selector.select(0.0)
        else:
            ready = self._clock.select(self._selector, min(times, default=None), self._rouse)
        self._asleep = False
        first()
        for key, mask in ready:
            watch: _Watch | None = key.data
            if watch is None:
                os.eventfd_read(self._wake)
                continue
            if mask & selectors.EVENT_WRITE and watch.live and watch.writable is not None:
                watch.writable()
            if mask & selectors.EVENT_READ and watch.live:
                watch.readable()
        while (callback := self._later.take_due(self._clock.now())) is not None:
            callback()

    def close(self) -> None:
        """Release the loop's descriptors; what is posted from now on waits for `take`."""
        with self._waking:
            self._closed = True
            os.close(self._wake)
        self._selector.close()

    def disown(self) -> None:
        """In the child of a fork: the loop, its descriptors and its inbox are the parent's."""
        self._asleep = False
        self._inbox.clear()
