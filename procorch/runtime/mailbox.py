"""What callers share with the monitor: the bounded entrance to an agent's queue."""

from __future__ import annotations

import contextlib
import time
from collections import deque

from procorch.futures.latch import Latch


class Mailbox:
    """Counts the requests that wait, and makes senders wait while there are too many (seed).

    The order of the requests is the machine's (``supervision.ledger``); this is only the door.

    No lock is taken. A signal handler or a finalizer may interrupt a sender at any point and send,
    too, and the monitor must not wait for a sender who is interrupted. The count is a deque, whose
    steps are atomic. A sender who has to wait leaves a latch first and looks for a place second;
    whoever leaves a place gives it back first and looks for a latch second.

    Args:
        key: the mailbox's number.
        capacity: requests that may wait.
    """

    def __init__(self, key: int, capacity: int) -> None:
        self.key = key
        self.capacity: int = capacity
        self._taken: deque[None] = deque()
        self._senders: deque[Latch] = deque()
        self._members = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._taken)

    def has_place(self) -> bool:
        """Whether a sender would not have to wait."""
        return len(self._taken) < self.capacity or self._closed

    def enter_at_once(self) -> bool:
        """Take a place if there is one.

        A closed mailbox has no limit: what enters is refused by the machine, in order.
        """
        self._taken.append(None)
        if len(self._taken) <= self.capacity or self._closed:
            return True
        self.leave()
        return False

    def enter_beyond(self) -> None:
        """Take a place whatever the number."""
        self._taken.append(None)

    def enter(self, timeout: float | None) -> bool:
        """Take a place, waiting for one at most ``timeout`` seconds; False if there was none."""
        if self.enter_at_once():
            return True
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            latch = Latch()
            self._senders.append(latch)
            try:
                if not self.has_place():
                    left = None if end is None else end - time.monotonic()
                    latch.wait(left)
            except BaseException:  # Ctrl-C: a place that this sender was woken for is the next's
                if not self._withdraw(latch):
                    self._wake()
                raise
            self._withdraw(latch)
            if self.enter_at_once():
                return True
            if end is not None and time.monotonic() >= end:
                return False

    def _withdraw(self, latch: Latch) -> bool:
        """Take a sender's latch back; False: it has been opened."""
        try:
            self._senders.remove(latch)
        except ValueError:
            return False
        return True

    def _wake(self) -> None:
        """Let the sender who has waited longest look again, if there is a place."""
        if self._senders and self.has_place():
            with contextlib.suppress(IndexError):
                self._senders.popleft().open()

    def widen(self, capacity: int) -> None:
        """Let at least so many requests wait."""
        self.capacity = max(self.capacity, capacity)
        self._wake_all()

    def leave(self) -> None:
        """A request has left the queue, to a worker or with its outcome."""
        self._taken.pop()
        if self._senders:
            self._wake()

    def join(self) -> None:
        """One more instance takes from it."""
        self._members += 1

    def release(self) -> None:
        """An instance takes no more; after the last one, waiting senders go on to their error."""
        self._members -= 1
        if self._members == 0:
            self._closed = True
            self._wake_all()

    def _wake_all(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._senders.popleft().open()
