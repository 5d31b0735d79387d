"""Named points in time: arm, disarm, take what is due. The caller tells the time."""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Timers(Generic[K]):
    """A heap of named times; disarming leaves the heap entry, to be skipped when it comes up.

    Attributes:
        bound: no armed time is before it; it may be too early until `next` is called.
    """

    __slots__ = ("_at", "_heap", "_sequence", "bound")

    def __init__(self) -> None:
        self._at: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self.bound: float = math.inf

    def arm(self, name: K, at: float) -> None:
        """Set ``name`` to time ``at``, in place of any earlier setting."""
        self._sequence += 1
        if at < self.bound:
            self.bound = at
        self._at[name] = (at, self._sequence)
        heapq.heappush(self._heap, (at, self._sequence, name))
        # Without this, a million requests with long deadlines would leave a million dead entries.
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._at):
            self._heap = [(when, number, key) for key, (when, number) in self._at.items()]
            heapq.heapify(self._heap)

    def disarm(self, name: K) -> None:
        """Forget ``name``; unknown names are fine."""
        self._at.pop(name, None)

    def at(self, name: K) -> float | None:
        """The time of ``name``; None where it is not armed."""
        armed = self._at.get(name)
        return None if armed is None else armed[0]

    def next(self) -> float | None:
        """The earliest armed time."""
        while self._heap:
            at, number, name = self._heap[0]
            if self._at.get(name) == (at, number):
                self.bound = at
                return at
            heapq.heappop(self._heap)
        self.bound = math.inf
        return None

    def take_due(self, now: float) -> K | None:
        """One name whose time has come, disarmed; None when there is none."""
        at = self.next()
        if at is None or at > now:
            return None
        name = heapq.heappop(self._heap)[2]
        del self._at[name]
        return name
