"""Ratios of two groups of values, with what they claim and what they leave open.

All of it happens on logarithms, so that twice as fast and half as fast are equally far from 1.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from procorch.bench.ranks import Shift, rank_sum, signed_rank

LEAST = 6
"""Fewer values than this claim nothing: the most extreme ranks of five pairs happen by luck in 1 of
16 cases."""
_LEVEL = 0.05
_TINY = 1e-12
"""Stands for 0, of which there is no logarithm: less than any clock tells."""


class Ratio(NamedTuple):
    """How many times the one is of the other.

    Args:
        value: the Hodges-Lehmann estimate: a middle of all pairwise ratios, which outliers
            move as little as a median.
        low, high: where the true one lies with 95 % confidence.
        p: probability of ranks this extreme where nothing differs (two-sided).
        n: how many independent values, or pairs of values, it rests on.
        min_effect: a smaller difference is not called one: 0.01 is one percent.
    """

    value: float
    low: float
    high: float
    p: float = 0.0
    n: int = LEAST
    min_effect: float = 0.0

    @property
    def differs(self) -> bool:
        """Whether a difference can be claimed: enough values, 1 outside, and large enough."""
        if self.n < LEAST or self.p >= _LEVEL or self.low <= 1.0 <= self.high:
            return False
        return abs(math.log(self.value)) >= math.log1p(self.min_effect)


def ratio_of(
    values: Sequence[float],
    base: Sequence[float],
    *,
    min_effect: float = 0.0,
    other_session: bool = False,
) -> Ratio:
    """``values`` in units of ``base``, which were measured independently of each other.

    Args:
        values, base: not negative, at least one of each.
        other_session: they were measured on different occasions. The interval is widened by the
            spread of either group: what differs from one process to the next differs at least as
            much from one day to the next.
    """
    ours, theirs = _logs(values), _logs(base)
    shift = rank_sum(ours, theirs)
    if other_session:
        spread = math.hypot(_spread(ours), _spread(theirs))
        shift = shift._replace(low=shift.low - 2 * spread, high=shift.high + 2 * spread)
    return _ratio(shift, min(len(ours), len(theirs)), min_effect)


def ratio_of_pairs(pairs: Sequence[tuple[float, float]], *, min_effect: float = 0.0) -> Ratio:
    """The second value of each pair in units of the first, measured side by side.

    Args:
        pairs: values that are not negative, at least one pair.
    """
    differences = [ours - theirs for theirs, ours in (_logs(pair) for pair in pairs)]
    return _ratio(signed_rank(differences), len(differences), min_effect)


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of ratios: of twice as slow and twice as fast it is 1.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("there are no ratios to take the mean of")
    return math.exp(statistics.fmean(_logs(values)))


def fisher_p(good: int, bad: int, other_good: int, other_bad: int) -> float:
    """Probability of rates of success this different, or more, by luck (Fisher's exact test)."""
    ours, theirs, all_good = good + bad, other_good + other_bad, good + other_good

    def ways(count: int) -> int:
        return math.comb(ours, count) * math.comb(theirs, all_good - count)

    possible = range(max(0, all_good - theirs), min(ours, all_good) + 1)
    seen = ways(good)
    return sum(w for w in map(ways, possible) if w <= seen) / math.comb(ours + theirs, all_good)


def _logs(values: Sequence[float]) -> list[float]:
    return [math.log(max(value, _TINY)) for value in values]


def _spread(logs: Sequence[float]) -> float:
    return statistics.stdev(logs) if len(logs) > 1 else 0.0


def _ratio(shift: Shift, count: int, min_effect: float) -> Ratio:
    value, low, high = (math.exp(log) for log in shift[:3])
    return Ratio(value, low, high, shift.p, count, min_effect)
