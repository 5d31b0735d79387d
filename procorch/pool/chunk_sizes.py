"""How many items go into one request."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

TARGET = 0.02
"""Seconds that a chunk should take: much longer than sending it and its answer (some 0.2 ms), and
too short for a person to notice."""
LARGEST = 50_000
"""Items in a chunk at most."""
_GROWTH = 64
"""By how much a chunk may be larger than the one before."""
_LAST = 10
"""The last chunks take at least this fraction of `TARGET`: a tenth."""


class ChunkSizes(Protocol):
    """Decides how many items the next chunk has."""

    def next(self) -> int:
        """How many new items the next chunk has."""
        ...

    def again(self) -> int:
        """How many items a chunk of items has that are sent again."""
        ...

    def took(self, count: int, wall: float) -> None:
        """Note that a chunk of ``count`` items took ``wall`` seconds."""
        ...

    def failed(self, count: int) -> None:
        """Note that a chunk ended at its first failure, after ``count`` results."""
        ...


class FixedSize:
    """Every chunk has the same size."""

    def __init__(self, count: int) -> None:
        self._count = count

    def next(self) -> int:
        """See `ChunkSizes`."""
        return self._count

    again = next

    def took(self, count: int, wall: float) -> None:
        """See `ChunkSizes`."""

    def failed(self, count: int) -> None:
        """See `ChunkSizes`."""


class LastSize(Struct):
    """How many items took about `TARGET` most recently: the next ``map`` of a pool starts with it.

    An outdated value does no harm: a worker gives the rest of a chunk back that takes too long.
    """

    items: int = 1


class AdaptiveSize:
    """Chunks that take about `TARGET`.

    Items go one at a time at first, and for as long as one item takes longer than `TARGET`. Chunks
    get smaller towards the end of the input, so that all workers finish at about the same time.

    Args:
        total: number of items; None: unknown.
        parts: a chunk has at most this fraction of the remaining items: one of so many parts.
        last: the size that a ``map`` before this one has found; it is updated.
    """

    def __init__(self, total: int | None, parts: int, last: LastSize) -> None:
        self._last = last
        self._count = last.items
        self._left = total
        self._parts = parts

    def next(self) -> int:
        """See `ChunkSizes`."""
        count = self._count
        if self._left is not None:
            least = max(1, self._last.items // _LAST)
            count = min(count, max(least, self._left // self._parts))
            self._left -= count
        return count

    def again(self) -> int:
        """See `ChunkSizes`."""
        return self._count

    def took(self, count: int, wall: float) -> None:
        """See `ChunkSizes`."""
        fitting = min(int(TARGET * count / wall) if wall > 0 else LARGEST, LARGEST)
        if count >= self._count:
            self._count = self._last.items = max(1, min(fitting, _GROWTH * count))
        elif wall > TARGET / _LAST:  # a shorter time is mostly the cost of sending the chunk
            self._count = self._last.items = max(1, min(fitting, self._count))

    def failed(self, count: int) -> None:
        """See `ChunkSizes`.

        The items after a failure have to be sent again, so chunks are no longer than the distance
        between two failures.
        """
        self._count = max(1, min(self._count, count))
