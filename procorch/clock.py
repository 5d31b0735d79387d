"""Time as the runtime has it, in one place, so that a test can put another in (`FakeClock`).

A clock that does not run by itself has to know when it may move on: when nobody is at work any
more. Hence it does more than tell the time: the loop waits through it, work for other threads is
promised to it, and who is about to wait for an outcome says so first. In real time none of this
means anything.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeAlias

Ready: TypeAlias = list[tuple[int, int]]
"""Descriptors and what is ready of each."""


class Poll(Protocol):
    """What waits for descriptors."""

    def poll(self, timeout: float | None) -> Ready:
        """What is ready within ``timeout`` seconds; None: wait for ever."""
        ...


_SLICE = 0.1
"""Seconds of one sleep while something is timed: as much of a pause may go unnoticed."""

_LATE = 0.2
"""Seconds after which a sleep that has not ended is no ordinary delay."""


class Clock:
    """Real time: monotonic seconds in which this process was running (N22).

    A stopped process, or a machine that stands still, notices nothing of it but that a sleep took
    too long. So the sleeps are short while something is timed, and what one takes beyond its length
    does not count. Each monitor has its own clock, because what tells is its own sleep.
    """

    def __init__(self) -> None:
        self._missed = 0.0
        self._awake_by = math.inf
        # Signal handlers ask for the time as well.
        self._noticing = threading.RLock()

    def now(self) -> float:
        """The time."""
        at = time.monotonic()
        if at > self._awake_by + _LATE:
            self._notice(at)
        return at - self._missed

    def steady(self) -> float:
        """The time that the clocks of all monitors of this process share, in monotonic seconds."""
        return time.monotonic()

    def wall(self) -> float:
        """The time of day, in seconds since the epoch; it may jump."""
        return time.time()

    def _notice(self, at: float) -> None:
        with self._noticing:
            if at > self._awake_by + _LATE:
                self._missed += at - self._awake_by
                self._awake_by = at + _SLICE

    def select(self, descriptors: Poll, until: float | None, wake: Callable[[], None]) -> Ready:
        """Wait for descriptors, at most ``until`` that time.

        Args:
            wake: ends the wait from another thread.
        """
        if until is None:
            self._awake_by = math.inf
            ready = descriptors.poll(None)
            self._awake_by = time.monotonic() + _SLICE
            return ready
        while True:
            left = max(0.0, until - self.now())
            nap = min(left, _SLICE)
            self._awake_by = time.monotonic() + nap
            ready = descriptors.poll(nap)
            if ready or self.now() >= until:
                self._awake_by = time.monotonic() + _SLICE
                return ready

    def promise(self, call: Callable[[], None], who: str) -> Callable[[], None]:
        """``call``, which thread ``who`` is going to make; no time passes before it has."""
        return call

    def attend(self, done: Callable[[], bool], timeout: float | None) -> float | None:
        """Somebody is about to wait until ``done``, at most ``timeout`` seconds; how long really.

        Called without a lock held. Whatever virtual time the wait takes passes in here.
        """
        return timeout


REAL = Clock()
"""For those that time nothing."""
