"""The places in an agent's queue: shared by the callers and the monitor."""

from __future__ import annotations

import contextlib
import time
from collections import deque

from procorch.futures.latch import Latch


class Mailbox:
    """Counts the waiting requests, and makes senders wait while there are too many.

    It does not hold the requests: `supervision.ledger` has their order.

    It takes no lock. A signal handler or a finalizer may interrupt a sender at any point and send a
    request itself, and the monitor must not wait for an interrupted sender. The count is a deque,
    whose operations are atomic. A sender that has to wait appends a latch first and checks for a
    place second. A request that leaves gives its place back first and checks for a latch second.

    Args:
        key: the mailbox's number.
        capacity: requests that may wait.
    """

    def __init__(self, key: int, capacity: int) -> None:
        self.key = key
        self.capacity: int = capacity
        self._taken: deque[None] = deque()
        self._senders: deque[Latch] = deque()
        self._closed = False

    def __len__(self) -> int:
        return len(self._taken)

    def has_place(self) -> bool:
        """Whether a sender can enter without waiting."""
        return len(self._taken) < self.capacity or self._closed

    def enter_at_once(self) -> bool:
        """Take a place if there is one.

        A closed mailbox has no limit: the machine refuses requests that enter it, in order.
        """
        self._taken.append(None)
        if len(self._taken) <= self.capacity or self._closed:
            return True
        self.leave()
        return False

    def enter_beyond(self) -> None:
        """Take a place beyond the capacity."""
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
            except BaseException:  # Ctrl-C: the next sender gets the place of this one
                if not self._withdraw(latch):
                    self._wake()
                raise
            self._withdraw(latch)
            if self.enter_at_once():
                return True
            if end is not None and time.monotonic() >= end:
                return False

    def _withdraw(self, latch: Latch) -> bool:
        """Remove a sender's latch; False: it was opened already."""
        try:
            self._senders.remove(latch)
        except ValueError:
            return False
        return True

    def _wake(self) -> None:
        """Wake the sender that has waited longest, if there is a place."""
        if self._senders and self.has_place():
            with contextlib.suppress(IndexError):
                self._senders.popleft().open()

    def widen(self, capacity: int) -> None:
        """Raise the capacity to at least ``capacity`` requests."""
        self.resize(max(self.capacity, capacity))

    def resize(self, capacity: int) -> None:
        """Have this capacity. Requests that are in it stay; senders that wait look again."""
        self.capacity = capacity
        self._wake_all()

    def leave(self) -> None:
        """Give back the place of a request that was sent or has its outcome."""
        self._taken.pop()
        if self._senders:
            self._wake()

    def close(self) -> None:
        """The agent has ended: the waiting senders enter, and get their error."""
        self._closed = True
        self._wake_all()

    def _wake_all(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._senders.popleft().open()
