"""The monitor's event loop: descriptors, an inbox for other threads, timers.

Only `Loop.post` may be called by any thread at any time, the rest by the thread that owns the loop:
its own where it does not wait, or one that has taken `Loop.ownership`. The wake-up costs a system
call only when the loop sleeps or is about to: the poster appends first and looks at `_asleep`
second, the loop sets `_asleep` first and looks at the inbox second, so one of the two always sees
the other.

Two races over descriptor numbers, which the system gives out again as soon as they are free:

* *Within one round of the loop* (its wait included: others may own it meanwhile) a worker may
  end and the next start, which gets the numbers of the old one. What was ready in that round was
  the old one's: hence `_Watch.since`. If it is ready itself, the next round finds it so.
* *A poster that is late* may find the loop closed after it saw it asleep. It must not write its
  eight bytes into whatever has the number now: hence `_WakeDescriptor`, which is closed when
  nobody has it.

A poster may be interrupted by a signal handler or a finalizer that posts, too, and waits for what
comes of it. So it takes no lock; and while it is between "I shall wake the loop" and having done
so, nobody relies on it: hence `_waking`.
"""

from __future__ import annotations

import math
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from procorch.clock import Clock, Ready
from procorch.supervision.timers import Timers

T = TypeVar("T")

_CATCH_UP = 64
"""Rounds of reading before something expires: a worker that never stops writing is not waited
for."""


class _Watch:
    """Who waits for a descriptor, ``since`` which round."""

    __slots__ = ("readable", "since", "writable")

    def __init__(self, readable: Callable[[], None], since: int) -> None:
        self.readable = readable
        self.since = since
        self.writable: Callable[[], None] | None = None


class _WakeDescriptor:
    """An eventfd that is closed with the last reference to it."""

    __slots__ = ("fd",)

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __del__(self) -> None:
        os.close(self.fd)


class Loop(Generic[T]):
    """Waits for descriptors, posted items and times.

    Args:
        clock: tells the time, and waits for it.
        timers: what else is timed; `wait` looks when that is due.

    Attributes:
        posted: the items that `take` has not taken.
        ownership: the right to act as the loop's thread.
    """

    def __init__(self, clock: Clock, timers: Timers[Any] | None = None) -> None:
        self._clock = clock
        self._timers: Timers[Any] = Timers() if timers is None else timers
        self._epoll = select.epoll()
        self._watches: dict[int, _Watch] = {}
        self.posted: deque[T] = deque()
        self._descriptor: _WakeDescriptor | None = _WakeDescriptor()
        self._wake_fd = self._descriptor.fd
        self._waking: deque[None] = deque()
        self._asleep = False
        self._until = math.inf
        self._round = 0
        self.ownership: threading.Lock = threading.Lock()
        self._later: Timers[Callable[[], None]] = Timers()
        self._epoll.register(self._wake_fd, select.EPOLLIN)

    def post(self, item: T) -> None:
        """Hand an item to the loop's thread; from any thread."""
        self.posted.append(item)
        self.wake()

    def post_quietly(self, item: T) -> None:
        """The same, for the loop to find when it wakes for something else."""
        self.posted.append(item)

    def wake(self) -> None:
        """Wake the loop if it sleeps; from any thread."""
        if self._asleep or self._waking:
            self._waking.append(None)
            try:
                self._asleep = False
                self._write_wake()
            except BaseException:  # Ctrl-C, or no stack for one more call: the next one wakes it.
                self._asleep = True
                raise
            finally:
                self._waking.pop()

    def _write_wake(self) -> None:
        descriptor = self._descriptor
        if descriptor is not None:
            os.eventfd_write(descriptor.fd, 1)

    def take(self) -> T | None:
        """The next posted item."""
        return self.posted.popleft() if self.posted else None

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """See `launch.base.Watcher`."""
        self._watches[fd] = _Watch(callback, self._round)
        self._epoll.register(fd, select.EPOLLIN)

    def watch_writable(self, fd: int, callback: Callable[[], None]) -> None:
        """See `launch.base.Watcher`."""
        watch = self._watches[fd]
        watch.writable = callback
        self._epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)

    def unwatch_writable(self, fd: int) -> None:
        """See `launch.base.Watcher`."""
        watch = self._watches[fd]
        watch.writable = None
        self._epoll.modify(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """See `launch.base.Watcher`."""
        if self._watches.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """See `launch.base.Watcher`."""
        self._later.arm(callback, self._clock.now() + delay)

    def end_turn(self) -> None:
        """Give up the ownership that another thread has taken.

        While the loop's thread is asleep it may sleep for longer than what is timed by now. If it
        is not, it looks at the times itself, as soon as it owns the loop.
        """
        asleep = self._asleep
        late = asleep and self._is_due_before(self._until)
        self.ownership.release()
        if self._asleep and (late or self.posted):
            self._write_wake()

    def _is_due_before(self, until: float) -> bool:
        return min(self._timers.bound, self._later.bound) < until and self._next() < until

    def _next(self) -> float:
        earliest = math.inf
        for timers in (self._later, self._timers):
            if timers.bound < earliest:
                at = timers.next()
                earliest = earliest if at is None else min(earliest, at)
        return earliest

    def wait(self, first: Callable[[], None], last: Callable[[], None]) -> None:
        """Wait for something to happen, and call who waits for it.

        Args:
            first: called before all others, if something was posted, to `take` it. A cancel that
                was posted before a worker wrote its reply is known before that reply is read (seed:
                biased).
            last: called after them.
        """
        with self.ownership:
            self._round += 1
            until = self._until = self._next()
            self._asleep = True
        if self.posted:
            ready = self._epoll.poll(0.0)
        else:
            longest = None if until == math.inf else until
            ready = self._clock.select(self._epoll, longest, self._write_wake)
        self._asleep = False
        with self.ownership:
            if self.posted:
                first()
            self._serve(ready)
            if self._later.bound < math.inf or self._timers.bound < math.inf:
                self._expire()
            last()

    def _expire(self) -> None:
        """Call what was to be called later, if its time has come."""
        for _ in range(_CATCH_UP):
            # The sleep may have ended long after its time (a stopped process): what has come
            # meanwhile is older than what expires now.
            if self._next() > self._clock.now():
                break
            self._round += 1
            if not (ready := self._epoll.poll(0.0)):
                break
            self._serve(ready)
        while (callback := self._later.take_due(self._clock.now())) is not None:
            callback()

    def _serve(self, ready: Ready) -> None:
        for fd, mask in ready:
            if fd == self._wake_fd:
                os.eventfd_read(fd)
                continue
            if mask & ~select.EPOLLIN and (watch := self._watched(fd)) and watch.writable:
                watch.writable()
            if mask & ~select.EPOLLOUT and (watch := self._watched(fd)):
                watch.readable()

    def _watched(self, fd: int) -> _Watch | None:
        watch = self._watches.get(fd)
        return None if watch is None or watch.since == self._round else watch

    def close(self) -> None:
        """Release the loop's descriptors; what is posted from now on waits for `take`."""
        self._descriptor = None
        self._epoll.close()

    def disown(self) -> None:
        """In the child of a fork: the loop, its descriptors and its inbox are the parent's."""
        self._asleep = False
        self.posted.clear()
