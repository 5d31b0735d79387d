"""Order over calls that may overtake each other, come twice or fail.

The methods of an asynchronous Ray actor may begin in another order than they were called. So each
message has a number. The sender keeps it until the receiver has confirmed it, and the receiver
passes messages on in their order, each once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


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
        start = self._confirmed + 1
        return [(start + at, each) for at, each in enumerate(self._kept) if start + at > number]

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
