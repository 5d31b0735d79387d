"""Order over calls that may overtake each other, come twice or fail.

The methods of an asynchronous Ray actor may begin in another order than they were called. So each
message has a number. The sender keeps it until the receiver has confirmed it, and the receiver
passes messages on in their order, each once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

PARKED = 2
"""Calls that one side has wait at the other for messages: while one carries its answer, the next is
there."""
_MOST = PARKED + 2
"""Calls that may wait: each has brought something, and one more is answered without messages."""


class Outbox(Generic[T]):
    """Numbers messages from 1, and keeps them until they are confirmed."""

    def __init__(self) -> None:
        self._kept: deque[T] = deque()
        self._confirmed = 0

    def put(self, message: T) -> int:
        """Add a message; returns its number."""
        self._kept.append(message)
        return self._confirmed + len(self._kept)

    def confirm(self, number: int) -> None:
        """The receiver has all messages up to ``number``."""
        while self._kept and self._confirmed < number:
            self._kept.popleft()
            self._confirmed += 1

    def after(self, number: int) -> list[tuple[int, T]]:
        """The messages behind ``number``, with their numbers."""
        skipped = max(0, number - self._confirmed)
        start = self._confirmed + 1
        return [(start + at, self._kept[at]) for at in range(skipped, len(self._kept))]

    def __len__(self) -> int:
        return len(self._kept)


class Inbox(Generic[T]):
    """Restores the order of messages.

    Attributes:
        taken: the number of the last message that was passed on; all before it were, too.
    """

    def __init__(self) -> None:
        self.taken: int = 0
        self._early: dict[int, T] = {}

    def feed(self, messages: Iterable[tuple[int, T]]) -> Iterator[T]:
        """Take numbered messages; yield those whose turn has come."""
        for number, message in messages:
            if number > self.taken:
                self._early[number] = message
        while self.taken + 1 in self._early:
            self.taken += 1
            yield self._early.pop(self.taken)


class Answers(Generic[T]):
    """Messages to somebody who cannot be called: they travel in the answers to calls that wait.

    Each call brings messages of the other side and stays until there are messages for it. So a
    request needs one call: its answer travels in the answer to the call before.

    Attributes:
        outbox: what was put in and is not confirmed.
    """

    def __init__(self) -> None:
        self.outbox: Outbox[T] = Outbox()
        self._carried = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._woken = False

    def put(self, message: T) -> None:
        """Send a message with the call that has waited longest."""
        self.outbox.put(message)
        self._wake()

    async def wait(self, taken: int, *, again: bool) -> list[tuple[int, T]]:
        """One call.

        Args:
            taken: the other side has all messages up to this number.
            again: answers to other calls may be lost, so send all behind ``taken`` again.

        Returns:
            The messages for its answer; none: too many calls wait.
        """
        self.outbox.confirm(taken)
        self._carried = taken if again else max(taken, self._carried)
        if not self.outbox.after(self._carried):
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            if len(self._waiting) > _MOST:
                self._waiting.popleft().set_result(None)
            try:
                await waiting
            finally:
                self._woken = False
        batch = self.outbox.after(self._carried)
        self._carried += len(batch)
        return batch

    def _wake(self) -> None:
        if self._waiting and not self._woken:
            self._woken = True
            self._waiting.popleft().set_result(None)
