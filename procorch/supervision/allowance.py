"""How many requests a process may have at a time where ``prefetch`` is ``"auto"``.

Requests that were sent ahead wait for the one that runs, so together they may take `BUDGET`: that
divided by the time of the slowest of the last requests is the allowance. Requests that take long
are not sent ahead, and each goes to the replica that is free first. That a request among quick ones
is slow shows only while it runs; `take_back` then takes what waits behind it.
"""

from __future__ import annotations

BUDGET = 0.001
"""Seconds that the requests ahead of their turn may take together."""

MOST = 16
"""The largest allowance: more at hand makes requests no quicker (docs/decisions/012)."""

WINDOW = 32
"""How many of the last requests count."""

ENOUGH = 8
"""Requests after which the time that they take counts as known."""

_LEAST = 1e-6
"""Seconds that a request takes at least: the clock may not have moved."""


class Allowance:
    """The allowance of one process, from the time that its requests took.

    Attributes:
        amount: how many requests it may have at a time: 1 until the time is known.
    """

    __slots__ = ("_at", "_slowest", "_walls", "amount")

    def __init__(self) -> None:
        self.amount: int = 1
        self._walls: list[float] = []
        self._at = 0
        self._slowest = 0.0

    def note(self, wall: float) -> None:
        """A request took ``wall`` seconds in the worker."""
        walls = self._walls
        if len(walls) < WINDOW:
            walls.append(wall)
            if wall > self._slowest:
                self._slowest = wall
            elif len(walls) != ENOUGH:
                return
        else:
            oldest = walls[self._at]
            walls[self._at] = wall
            self._at = (self._at + 1) % WINDOW
            if wall > self._slowest:
                self._slowest = wall
            elif oldest == self._slowest:
                self._slowest = max(walls)
            else:
                return
        if len(walls) >= ENOUGH:
            self.amount = min(MOST, 1 + int(BUDGET / max(self._slowest, _LEAST)))
