"""Rank tests and their intervals: exact for few values, and no assumption of a normal distribution.

Both intervals contain a shift exactly where the test does not reject it, so an interval and its
p value never contradict each other. Sources: Wilcoxon (1945), Mann and Whitney (1947), Hodges and
Lehmann (1963). The package does without SciPy, which its tests compare these functions with.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

_ALPHA = 0.05
_EXACT = 50
"""Up to so many values of a group the distribution is exact; beyond, the normal one is close."""
_MOST = 300
"""More values of a group than this are averaged in blocks before their differences are formed."""


class Shift(NamedTuple):
    """How far values are shifted.

    Args:
        value: the Hodges-Lehmann estimate of the shift.
        low, high: its 95 % confidence interval.
        p: probability of ranks this extreme, or more, without any shift (two-sided).
    """

    value: float
    low: float
    high: float
    p: float


def signed_rank(differences: Sequence[float]) -> Shift:
    """How far differences of pairs are shifted from 0 (Wilcoxon's signed-rank test).

    Args:
        differences: one of each pair; they need not be normal, only symmetric around the shift.

    Raises:
        ValueError: there are none.
    """
    values = _in_blocks(differences)
    count = len(values)
    averages = sorted((values[i] + values[j]) / 2 for i in range(count) for j in range(i, count))
    place = _quantile(_signed_rank_counts(count)) if count <= _EXACT else _normal_place(
        count * (count + 1) / 4, count * (count + 1) * (2 * count + 1) / 24
    )  # fmt: skip
    value, low, high = _interval(averages, place)
    return Shift(value, low, high, _signed_rank_p([value for value in values if value]))


def rank_sum(values: Sequence[float], base: Sequence[float]) -> Shift:
    """How far ``values`` are shifted from those of ``base`` (Mann and Whitney's rank-sum test).

    Raises:
        ValueError: there are none of either.
    """
    ours, theirs = _in_blocks(values), _in_blocks(base)
    n, m = len(ours), len(theirs)
    shifts = sorted(ours_one - theirs_one for ours_one in ours for theirs_one in theirs)
    place = _quantile(_rank_sum_counts(n, m)) if max(n, m) <= _EXACT else _normal_place(
        n * m / 2, n * m * (n + m + 1) / 12
    )  # fmt: skip
    value, low, high = _interval(shifts, place)
    return Shift(value, low, high, _rank_sum_p(ours, theirs))


def _in_blocks(values: Sequence[float]) -> list[float]:
    if not values:
        raise ValueError("there are no values to compare")
    width = math.ceil(len(values) / _MOST)
    blocks = [values[start : start + width] for start in range(0, len(values), width)]
    return [statistics.fmean(block) for block in blocks] if width > 1 else list(values)


def _interval(ordered: Sequence[float], place: int) -> tuple[float, float, float]:
    return statistics.median(ordered), ordered[place], ordered[len(ordered) - 1 - place]


def _quantile(counts: Sequence[int]) -> int:
    """The place of an interval's end among the ordered differences, from 0."""
    least, below = sum(counts) * _ALPHA / 2, 0
    for statistic, count in enumerate(counts):
        below += count
        if below >= least:
            return max(statistic - 1, 0)
    raise AssertionError("the counts of a distribution add up to their sum")


def _normal_place(mean: float, variance: float) -> int:
    return max(int(mean + NormalDist().inv_cdf(_ALPHA / 2) * math.sqrt(variance)) - 1, 0)


def _signed_rank_counts(count: int) -> list[int]:
    """How many of the 2**count signs give each rank sum."""
    return _subset_sums(range(1, count + 1))


def _subset_sums(ranks: Sequence[int]) -> list[int]:
    counts = [1] + [0] * sum(ranks)
    reached = 0
    for rank in ranks:
        reached += rank
        for total in range(reached, rank - 1, -1):
            counts[total] += counts[total - rank]
    return counts


def _signed_rank_p(differences: Sequence[float]) -> float:
    if not differences:
        return 1.0
    # Ranks are doubled, so that those of equal values are whole numbers.
    ranks = _doubled_ranks([abs(value) for value in differences])
    positive = sum(rank for rank, value in zip(ranks, differences, strict=True) if value > 0)
    if len(ranks) <= _EXACT:
        return _two_sided(_subset_sums(ranks), positive)
    variance = sum(rank * rank for rank in ranks) / 4
    return _normal_p(positive, sum(ranks) / 2, variance, step=2)


def _rank_sum_counts(n: int, m: int) -> list[int]:
    """How many of the ways to mix two groups give each value of Mann and Whitney's U."""
    # ways[k][u]: k of our group among the values seen so far, u pairs in which ours is larger.
    ways = [[1] + [0] * (n * m)] + [[0] * (n * m + 1) for _ in range(n)]
    for seen in range(n + m):
        for ours in range(min(seen + 1, n), 0, -1):
            theirs = seen + 1 - ours
            if theirs > m:
                continue
            row, before = ways[ours], ways[ours - 1]
            for u in range(n * m, theirs - 1, -1):
                row[u] += before[u - theirs]
    return ways[n]


def _rank_sum_p(ours: Sequence[float], theirs: Sequence[float]) -> float:
    n, m = len(ours), len(theirs)
    ranks = _doubled_ranks([*ours, *theirs])
    total = sum(ranks[:n])
    if len(set(ranks)) == len(ranks) and max(n, m) <= _EXACT:
        return _two_sided(_rank_sum_counts(n, m), (total - n * (n + 1)) // 2)
    middle = n * sum(ranks) / (n + m)
    mean = sum(ranks) / (n + m)
    spread = sum((rank - mean) ** 2 for rank in ranks) / (n + m)
    variance = n * m / (n + m - 1) * spread
    return _normal_p(total, middle, variance, step=2)


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in order[start : end + 1]:
            ranks[place] = start + end + 2
        start = end + 1
    return ranks


def _two_sided(counts: Sequence[int], statistic: int) -> float:
    whole = sum(counts)
    tail = min(sum(counts[: statistic + 1]), sum(counts[statistic:]))
    return min(1.0, 2 * tail / whole)


def _normal_p(statistic: float, mean: float, variance: float, *, step: int) -> float:
    if variance == 0:
        return 1.0
    distance = max(abs(statistic - mean) - step / 2, 0.0)
    return min(1.0, 2 * (1 - NormalDist().cdf(distance / math.sqrt(variance))))
