"""Statistics of one figure over several runs."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import cached_property

from procorch.bench.ratios import Ratio as Ratio
from procorch.bench.ratios import ratio_of

_OUTLIER = 3.5
"""Modified z-scores beyond this are outliers (Iglewicz and Hoaglin)."""
_NORMAL = 1.4826
"""A normal distribution's standard deviation is so many times its median absolute deviation."""
_NORMAL_MEAN = 1.2533
"""Likewise of its mean absolute deviation, which takes over where most values are equal."""


@dataclass(frozen=True)
class Statistics:
    """One figure of every run.

    Args:
        values: one of each run, in order of the runs.

    Raises:
        ValueError: there are none.

    Example:
        >>> statistics = Statistics((1.0, 1.1, 0.9))
        >>> statistics.median, statistics.max
        (1.0, 1.1)
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("there are no runs to make statistics of")

    @property
    def count(self) -> int:
        """How many runs there are."""
        return len(self.values)

    @cached_property
    def median(self) -> float:
        """The middle one: an outlier moves it little."""
        return statistics.median(self.values)

    @cached_property
    def mad(self) -> float:
        """The median absolute deviation from the median: the spread, as robust as the median."""
        return statistics.median(abs(value - self.median) for value in self.values)

    @cached_property
    def mean(self) -> float:
        """The arithmetic mean."""
        return statistics.fmean(self.values)

    @cached_property
    def sd(self) -> float:
        """The standard deviation of the sample; 0.0 of a single run."""
        return statistics.stdev(self.values) if self.count > 1 else 0.0

    @property
    def min(self) -> float:
        """The smallest."""
        return min(self.values)

    @property
    def max(self) -> float:
        """The largest."""
        return max(self.values)

    def percentile(self, percent: float) -> float:
        """The value that ``percent`` of the runs do not exceed, interpolated between two runs.

        Args:
            percent: 0 to 100.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"percent must be from 0 to 100, not {percent}")
        ordered = sorted(self.values)
        place = (len(ordered) - 1) * percent / 100
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (ordered[above] - ordered[below]) * (place - below)

    @cached_property
    def outliers(self) -> tuple[int, ...]:
        """The runs (from 0) that are farther from the median than noise takes them."""
        width = self.mad * _NORMAL
        if width == 0:
            away = statistics.fmean(abs(value - self.median) for value in self.values)
            width = away * _NORMAL_MEAN
        if width == 0:
            return ()
        return tuple(
            number
            for number, value in enumerate(self.values)
            if abs(value - self.median) / width > _OUTLIER
        )

    @property
    def spread(self) -> float:
        """The spread as a part of the median: 0.02 is two percent."""
        return self.mad / self.median if self.median else 0.0


def ratio(of: Statistics, to: Statistics) -> Ratio:
    """``of`` in units of ``to``, measured independently of each other: see `Ratio`."""
    return ratio_of(of.values, to.values)
