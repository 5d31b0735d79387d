"""What callers share with the monitor: the bounded entrance to an agent's queue."""

from __future__ import annotations

import threading


class Mailbox:
    """Counts the requests that wait, and makes senders wait while there are too many (seed).

    The order of the requests is the machine's (``supervision.ledger``); this is only the door.

    Args:
        key: the mailbox's number.
        capacity: requests that may wait.

    Attributes:
        backlog: how many of them the machine has, and nobody to give them to; counted by whoever
            has the turn.
    """

    def __init__(self, key: int, capacity: int) -> None:
        self.key = key
        self.capacity = capacity
        self._waiting = 0
        self._members = 0
        self._closed = False
        self.backlog = 0
        # Taken by itself where nobody waits: that is C, the condition's own way in is not.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def __len__(self) -> int:
        return self._waiting

    def has_place(self) -> bool:
        """Whether a sender would not have to wait."""
        return self._waiting < self.capacity or self._closed

    def enter(self, timeout: float | None, *, wait: bool = True) -> bool:
        """Take a place, waiting for one at most ``timeout`` seconds; False if there was none.

        A closed mailbox has no limit: what enters is refused by the machine, in order.

        Args:
            wait: False lets the request in whatever the number. On an event loop the sender who
                waits is the task that awaits the reply; blocking its thread would stop all tasks.
        """
        with self._lock:
            if wait and not self.has_place():
                try:
                    self._changed.wait_for(self.has_place, timeout)
                except BaseException:
                    # Ctrl-C: the place that this sender may have been woken for is the next one's.
                    self._changed.notify()
                    raise
                if not self.has_place():
                    return False
            self._waiting += 1
            return True

    def widen(self, capacity: int) -> None:
        """Let at least so many requests wait."""
        with self._changed:
            self.capacity = max(self.capacity, capacity)
            self._changed.notify_all()

    def leave(self) -> None:
        """A request has left the queue, to a worker or with its outcome."""
        with self._lock:
            self._waiting -= 1
            if self._waiting < self.capacity:
                self._changed.notify()

    def join(self) -> None:
        """One more instance takes from it."""
        self._members += 1

    def release(self) -> None:
        """An instance takes no more; after the last one, waiting senders go on to their error."""
        self._members -= 1
        if self._members == 0:
            with self._changed:
                self._closed = True
                self._changed.notify_all()
