"""Time as the runtime has it, in one place, so that a test can put another in (`FakeClock`).

A clock that does not run by itself has to know when it may move on: when nobody is at work any
more. Hence it does more than tell the time: the loop waits through it, work for other threads is
promised to it, and who is about to wait for an outcome says so first. In real time none of this
means anything.
"""

from __future__ import annotations

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


_LONGEST = 86400.0
"""Seconds of one sleep: the system refuses those of more than some weeks."""


class Clock:
    """Real time: monotonic seconds."""

    def now(self) -> float:
        """The time."""
        return time.monotonic()

    def select(self, descriptors: Poll, until: float | None, wake: Callable[[], None]) -> Ready:
        """Wait for descriptors, at most ``until`` that time.

        Args:
            wake: ends the wait from another thread.
        """
        if until is None:
            return descriptors.poll(None)
        return descriptors.poll(min(_LONGEST, max(0.0, until - self.now())))

    def promise(self, call: Callable[[], None], who: str) -> Callable[[], None]:
        """``call``, which thread ``who`` is going to make; no time passes before it has."""
        return call

    def attend(self, done: Callable[[], bool], timeout: float | None) -> float | None:
        """Somebody is about to wait until ``done``, at most ``timeout`` seconds; how long really.

        Called without a lock held. Whatever virtual time the wait takes passes in here.
        """
        return timeout


REAL = Clock()
"""The one that everybody uses outside tests."""
