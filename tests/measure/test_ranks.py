"""The rank tests, against values that SciPy 1.16 gives for the same data."""

from __future__ import annotations

import random

import pytest

from procorch.bench.ranks import rank_sum, signed_rank
from procorch.bench.ratios import fisher_p, geometric_mean, ratio_of, ratio_of_pairs

PAIRS = [0.9, -0.2, 1.4, 0.3, 2.1, -0.6, 0.8, 1.7]
OURS = [1.1, 2.3, 0.4, 3.8, 2.9, 1.9]
THEIRS = [0.3, 1.2, -0.5, 0.9, 2.1, 0.1, 1.0]


def test_the_signed_rank_test_is_exact_for_few_pairs() -> None:
    found = signed_rank(PAIRS)
    assert found.p == pytest.approx(0.0546875)  # scipy.stats.wilcoxon(PAIRS)
    assert found.value == pytest.approx(0.825)
    assert found.low < 0 < found.high  # as p is not below 0.05
    above = signed_rank([0.9, 0.2, *PAIRS[2:]])
    assert above.p == pytest.approx(0.0390625)
    assert above.low > 0


def test_the_rank_sum_test_is_exact_for_few_values() -> None:
    found = rank_sum(OURS, THEIRS)
    assert found.p == pytest.approx(0.05128205)  # scipy.stats.mannwhitneyu(OURS, THEIRS)
    assert found.low < 0 < found.high


def test_five_pairs_cannot_show_anything_and_six_can() -> None:
    assert signed_rank([1.0, 2.0, 3.0, 4.0, 5.0]).p == pytest.approx(2 / 2**5)
    assert signed_rank([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).p == pytest.approx(2 / 2**6)


def test_many_values_use_the_normal_distribution_and_agree_with_the_exact_one() -> None:
    draw = random.Random(3)
    many = [draw.gauss(0.3, 1.0) for _ in range(50)]
    exact, close = signed_rank(many), signed_rank([*many, 0.0])
    assert close.p == pytest.approx(exact.p, rel=0.1)
    assert close.low == pytest.approx(exact.low, abs=0.05)
    others = [draw.gauss(0.0, 1.0) for _ in range(50)]
    exact, close = rank_sum(many, others), rank_sum([*many, 0.3], others)
    assert close.p == pytest.approx(exact.p, rel=0.2)
    assert close.low == pytest.approx(exact.low, abs=0.05)


def test_equal_values_differ_in_nothing() -> None:
    assert signed_rank([0.0] * 8).p == 1.0
    assert rank_sum([2.0] * 8, [2.0] * 8).p == 1.0
    assert rank_sum([2.0] * 8, [2.0] * 8)[:3] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("runs", [1, 6, 12])
def test_equal_code_is_told_apart_in_at_most_five_of_a_hundred_cases(
    paired: bool, runs: int
) -> None:
    draw = random.Random(runs)

    def took() -> float:
        return draw.gauss(1.0, 0.02) + (draw.random() < 0.1) * abs(draw.gauss(0, 0.3))

    claims = 0
    for _ in range(200):
        a, b = [took() for _ in range(runs)], [took() for _ in range(runs)]
        found = ratio_of_pairs(list(zip(a, b, strict=True))) if paired else ratio_of(b, a)
        claims += found.differs
    assert claims <= 200 * 0.08  # 10 are expected at most; 16 leave room for luck
    assert runs >= 6 or claims == 0


def test_another_session_needs_a_larger_difference() -> None:
    draw = random.Random(5)
    before = [draw.gauss(1.0, 0.02) for _ in range(20)]
    later = [draw.gauss(1.04, 0.02) for _ in range(20)]
    assert ratio_of(later, before).differs
    assert not ratio_of(later, before, other_session=True).differs
    assert ratio_of([2 * t for t in later], before, other_session=True).differs


def test_a_difference_below_the_least_effect_is_not_called_one() -> None:
    pairs = [(1.0, 1.005 + n / 1e6) for n in range(12)]
    assert ratio_of_pairs(pairs).differs
    assert not ratio_of_pairs(pairs, min_effect=0.01).differs


def test_the_geometric_mean_of_twice_and_half_is_one() -> None:
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no ratios"):
        geometric_mean([])


def test_rates_of_success_are_compared_exactly() -> None:
    assert fisher_p(18, 2, 20, 0) == pytest.approx(0.48717949)  # scipy.stats.fisher_exact
    assert fisher_p(10, 10, 20, 0) == pytest.approx(0.00043592)
    assert fisher_p(0, 0, 5, 0) == 1.0
