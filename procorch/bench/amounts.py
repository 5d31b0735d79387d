"""How much is measured: runs, processes, and when that is enough."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

PROCESSES = 10
"""Over how many processes the runs are distributed, if nothing else is said."""
MAX_TIME = 300.0
"""Seconds after which measuring until a precision ends even so, if nothing else is said."""
_MOST = 100
"""So many times the runs that were asked for are made at most, until a precision is reached."""


@dataclass(frozen=True)
class Amounts:
    """How much is measured.

    Args:
        runs: how many runs count.
        warmup: runs before those; they fill the caches of the machine.
        processes: over how many processes the runs are distributed; at most one each.
        warmup_calls: calls of each request in a process before those that count.
        loops: inner loops; 0: calibrated.
        fresh: False: one process, which the warm-up runs use as well.
        until: end sooner, when the 95 % interval is that narrow, 0.02 for give or take 2 %;
            0: never.
        max_time: end sooner, after so many seconds.
    """

    runs: int = 20
    warmup: int = 1
    processes: int = PROCESSES
    warmup_calls: int = 1
    loops: int = 0
    fresh: bool = True
    until: float = 0.0
    max_time: float = math.inf

    def block(self, turn: int) -> int:
        """Which process a run belongs to."""
        return turn * min(self.processes, self.runs) // self.runs if self.fresh else 0


def until_precise(amounts: Amounts, until: float | None, max_time: float) -> Amounts:
    """The amounts, with more runs where a precision is to be reached; None: as they are."""
    if until is None:
        return amounts
    return replace(
        amounts,
        runs=amounts.runs * _MOST,
        processes=amounts.processes * _MOST,
        until=until,
        max_time=max_time,
    )
