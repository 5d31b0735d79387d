"""How many items go into one request."""

from __future__ import annotations

from typing import Protocol

TARGET = 0.02
"""Seconds that a chunk should take: long beside its way there and back (some 0.2 ms), short beside
what a person waits for."""
MOST = 50_000
"""Items of a chunk, however fast."""
_GROWTH = 16
_LAST = 20
"""The last chunks are not shorter than this part of `TARGET`."""


class Sizes(Protocol):
    """Says how large the next chunk is."""

    def next(self) -> int:
        """Items of the next chunk of new ones."""
        ...

    def again(self) -> int:
        """Items of a chunk of those that have to be sent again."""
        ...

    def saw(self, count: int, wall: float) -> None:
        """A chunk of ``count`` items took ``wall`` seconds."""
        ...

    def failed(self, count: int) -> None:
        """A chunk ended at its first failure, after ``count`` items."""
        ...


class Fixed:
    """Always as many."""

    def __init__(self, count: int) -> None:
        self._count = count

    def next(self) -> int:
        """See `Sizes`."""
        return self._count

    again = next

    def saw(self, count: int, wall: float) -> None:
        """See `Sizes`."""

    def failed(self, count: int) -> None:
        """See `Sizes`."""


class Measured:
    """So many that a chunk takes about `TARGET`: one at a time at first, and for as long as an item
    takes longer than that. Towards the end fewer, so that all replicas finish together.

    Args:
        total: how many items there are; None: unknown.
        share: into how many parts what remains is divided at least.
    """

    def __init__(self, total: int | None, share: int) -> None:
        self._count = 1
        self._least = 1
        self._left = total
        self._share = share

    def next(self) -> int:
        """See `Sizes`."""
        count = self._count
        if self._left is not None:
            count = min(count, max(self._least, self._left // self._share))
            self._left -= count
        return count

    def again(self) -> int:
        """See `Sizes`."""
        return self._count

    def saw(self, count: int, wall: float) -> None:
        """See `Sizes`."""
        fitting = int(TARGET * count / wall) if wall > 0 else MOST
        self._least = max(1, fitting // _LAST)
        self._count = max(1, min(fitting, _GROWTH * count, MOST))

    def failed(self, count: int) -> None:
        """See `Sizes`: what follows a failure has to be sent again, so chunks should not be longer
        than the way from one failure to the next."""
        self._count = max(1, min(self._count, count))
