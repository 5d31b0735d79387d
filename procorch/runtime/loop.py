"""The monitor's event loop: descriptors, an inbox for other threads, timers.

Any thread may call `Loop.post` at any time. All other methods need the lock `Loop.ownership`: the
loop's own thread holds it while it does not wait, and other threads may take it in between.

A wake-up costs a system call only when the loop sleeps or is about to. The poster appends first and
reads `_asleep` second. The loop sets `_asleep` first and reads the inbox second. So at least one of
the two sees what the other did.

Two races over descriptor numbers, which the system reuses as soon as they are free:

* *Within one round of the loop* a worker may end and the next one start with the same numbers. (The
  round includes the wait, during which other threads may own the loop.) Readiness reported in that
  round belongs to the old descriptor, so `_Watch.since` excludes the new one. If the new one is
  ready as well, the next round reports it.
* *A late poster* may see the loop asleep and then find it closed. It must not write its eight bytes
  to another file that has got the number meanwhile. So the last reference to a `_WakeDescriptor`
  closes it, and the poster holds one.

A signal handler or a finalizer may interrupt a poster, post an item of its own and wait for the
result. So posting takes no lock. `_waking` holds an entry for each thread between its decision to
wake the loop and the wake-up: until then no other thread relies on it.
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
"""The most rounds of reading before timers expire: a worker may never stop writing."""


class _Watch:
    """The callbacks of a descriptor, and the round since which it is watched."""

    __slots__ = ("readable", "since", "writable")

    def __init__(self, readable: Callable[[], None], since: int) -> None:
        self.readable = readable
        self.since = since
        self.writable: Callable[[], None] | None = None


class _WakeDescriptor:
    """An eventfd that the last reference to it closes."""

    __slots__ = ("fd",)

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __del__(self) -> None:
        os.close(self.fd)


class Loop(Generic[T]):
    """Waits for descriptors, posted items and times.

    Args:
        clock: tells the time, and waits for descriptors and times.
        timers: further timers; `wait` returns when one is due.

    Attributes:
        posted: the items that `take` has not taken.
        ownership: the thread that holds this lock may act as the loop's thread.
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
        """The same without waking the loop."""
        self.posted.append(item)

    def wake(self) -> None:
        """Wake the loop if it sleeps; from any thread."""
        if self._asleep or self._waking:
            self._waking.append(None)
            try:
                self._asleep = False
                self._write_wake()
            except BaseException:  # Ctrl-C, or no stack left: the next poster wakes it.
                self._asleep = True
                raise
            finally:
                self._waking.pop()

    def _write_wake(self) -> None:
        descriptor = self._descriptor
        if descriptor is not None:
            os.eventfd_write(descriptor.fd, 1)
            # A handler of a signal may run here. An exception that it catches keeps this frame, and
            # would keep the descriptor open after `close`.
            del descriptor

    def take(self) -> T | None:
        """Take the next posted item; None: there is none."""
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

    def release_ownership(self) -> None:
        """Release the ownership of a thread that is not the loop's own.

        If the loop's thread is asleep, it may sleep past a timer that was armed meanwhile: it is
        woken then. If it is awake, it reads the timers as soon as it owns the loop.
        """
        asleep = self._asleep
        until = self._until
        late = (
            asleep
            and (self._timers.bound < until or self._later.bound < until)
            and self._next() < until
        )
        self.ownership.release()
        if self._asleep and (late or self.posted):
            self._write_wake()

    def _next(self) -> float:
        earliest = math.inf
        for timers in (self._later, self._timers):
            if timers.bound < earliest:
                at = timers.next()
                earliest = earliest if at is None else min(earliest, at)
        return earliest

    def wait(self, first: Callable[[], None], last: Callable[[], None]) -> None:
        """Wait for descriptors, posted items and timers, and call their callbacks.

        Args:
            first: called before all callbacks if items were posted, to `take` them. So a cancel
                that was posted before a worker wrote its reply counts before that reply is read.
            last: called after all callbacks.
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
        """Call the functions of `call_later` whose time has come."""
        for _ in range(_CATCH_UP):
            # The sleep may have ended late (this process was stopped). Data that came meanwhile
            # counts before the timers that expire now.
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
        """Close the loop's descriptors; items posted from now on stay until `take`."""
        self._descriptor = None
        self._epoll.close()

    def disown(self) -> None:
        """In the child of a fork: clear the inbox; the descriptors belong to the parent."""
        self._asleep = False
        self.posted.clear()
