"""What speaks against relying on a measurement, in words."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

from procorch.bench import units
from procorch.bench.records import Run
from procorch.bench.stats import Statistics

_FEW = 6
_UNSTEADY = 0.05
_SHORT = 50e-6
_DRIFT = 3.0
_LEAK = 100 << 10
"""Bytes a run by which memory may grow before it is called a leak: an allocator's page or two."""


def doubts(runs: Sequence[Run], notes: Sequence[str], *, complete: bool, warmed: bool) -> list[str]:
    """Why the figures should not be relied on; empty where nothing speaks against them.

    Args:
        notes: what happened around the measurement; they come first.
        complete: all runs that were asked for were made.
        warmed: see `growth`.
    """
    found = list(notes)
    if not complete:
        found.append("the measurement was interrupted: some of its runs are missing")
    if not runs:
        return found
    wall = Statistics(tuple(run.wall for run in runs))
    if wall.count < _FEW:
        found.append(f"only {wall.count} runs: too few to see how much they differ")
    if wall.spread > _UNSTEADY:
        found.append(
            f"unsteady: the runs differ by {wall.spread:.0%} of their median; is the machine "
            "busy with something else?"
        )
    found.extend(_outliers(wall))
    if wall.median < _SHORT and all(run.loops == 1 for run in runs):
        found.append(
            f"a run takes {wall.median * 1e6:.1f} us: too short for its clock; give it more "
            "requests"
        )
    half = wall.count // 2
    if half >= _FEW - 1:
        early, late = Statistics(wall.values[:half]), Statistics(wall.values[-half:])
        noise = max(early.mad, late.mad, wall.median * 0.01)
        if abs(late.median - early.median) > _DRIFT * noise:
            change = late.median / early.median - 1
            found.append(f"drifting: the second half of the runs took {change:+.0%}; warm up?")
    leak = growth(runs, warmed=warmed)
    if leak is not None:
        found.append(f"memory grows by {units.size(leak)} a run: does it leak?")
    return found


def _outliers(wall: Statistics) -> list[str]:
    farthest = max((wall.values[number] for number in wall.outliers), default=0.0)
    if len(wall.outliers) > wall.count / 10:
        return [f"{len(wall.outliers)} of {wall.count} runs are outliers"]
    if farthest > 2 * wall.median:
        times = farthest / wall.median if wall.median else float("inf")
        return [f"one of {wall.count} runs took {times:.1f} times as long as the median"]
    return []


def growth(runs: Sequence[Run], *, warmed: bool) -> float | None:
    """Bytes by which resident memory grows from one run of a process to its next.

    Args:
        warmed: calls that do not count came before the first run of each process. Otherwise its
            first step is left out, as the first run fills caches.

    Returns:
        The median step; None where memory is steady, or there are too few steps to tell.
    """
    after: dict[int, list[int]] = {}
    for run in runs:
        if run.rss_after:
            after.setdefault(run.process, []).append(run.rss_after)
    steps = [
        later - earlier
        for sizes in after.values()
        for earlier, later in pairwise(sizes if warmed else sizes[1:])
    ]
    if len(steps) < _FEW - 1:
        return None
    median = statistics.median(steps)
    growing = sum(step > 0 for step in steps)
    return median if median > _LEAK and growing > 0.8 * len(steps) else None
