"""Verdicts about two measurements, warnings, limits, suites and exports."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from procorch.bench import Comparison, Measurement
from procorch.bench.exports import benchstat, pyperf, pytest_benchmark
from procorch.bench.limits import passed, read
from procorch.bench.precision import floor, half_width
from procorch.bench.records import Failure, Plan, Run
from procorch.bench.stats import Statistics
from procorch.bench.suites import SuiteComparison

MIB = 1 << 20


def measured(
    walls: Sequence[float],
    *,
    name: str = "m",
    cpus: Sequence[float] | None = None,
    peak: int = 20 * MIB,
    a_process: int = 1,
    began: float = 100.0,
    failures: int = 0,
    rss: Sequence[int] = (),
) -> Measurement:
    """A measurement with these walls; ``a_process`` runs share a process."""
    cpus = walls if cpus is None else cpus
    runs = tuple(
        Run(
            wall, cpu, 0.0, peak, 5, cold=2 * wall, process=turn // a_process, turn=turn,
            began=began + turn, rss_after=rss[turn] if rss else 0,
        )
        for turn, (wall, cpu) in enumerate(zip(walls, cpus, strict=True))
    )  # fmt: skip
    lost = tuple(
        Failure("SIGABRT", "killed by SIGABRT", turn=len(runs) + n, began=began + len(runs) + n)
        for n in range(failures)
    )
    return Measurement(name, runs, 1, True, {"cores": 2}, (), lost)


def noisy(middle: float, count: int = 20, *, seed: int = 1, by: float = 0.01) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(middle, middle * by) for _ in range(count)]


@pytest.mark.parametrize("runs", range(1, 6))
def test_fewer_than_six_runs_decide_nothing(runs: int) -> None:
    found = Comparison(measured([1.0] * runs), measured([9.0] * runs), in_turn=True)
    assert (found.verdict, found.memory) == ("undecided", "undecided")
    assert "6 of each are needed" in str(found)


def test_six_runs_in_turn_decide() -> None:
    found = Comparison(measured(noisy(1.0, 6)), measured(noisy(2.0, 6, seed=2), name="b"))
    assert found.paired
    assert found.verdict == "slower"
    assert str(found).startswith("b is slower than m: it takes 2.0")


def test_what_disturbs_both_of_a_turn_is_no_difference_and_hides_none() -> None:
    weather = [1.0 + 0.5 * (n % 4) for n in range(20)]
    a = measured([w * t for w, t in zip(weather, noisy(1.0), strict=True)])
    b = [w * t for w, t in zip(weather, noisy(1.03, seed=2), strict=True)]
    assert Comparison(a, measured(b, began=100.5)).verdict == "slower"
    later = Comparison(a, measured(b, began=90_000.0))
    assert not later.paired
    assert later.verdict == "same"
    assert any("not measured in turn" in text for text in later.warnings)


def test_runs_of_one_process_are_no_independent_evidence() -> None:
    """Two processes of four differ by their memory layout; the code is the same."""
    a = [1.0, 1.001, 1.002, 1.0, 1.0005, 1.001] * 8
    offsets = [0.03, -0.01, 0.02, -0.02, 0.03, -0.015, 0.025, 0.01]
    b = [t + offsets[n // 6] for n, t in enumerate(a)]
    by_process = Comparison(measured(a, a_process=6), measured(b, a_process=6), in_turn=True)
    assert by_process.verdict == "same"
    assert by_process.wall.n == 8
    few = Comparison(measured(a[:12], a_process=6), measured(b[:12], a_process=6), in_turn=True)
    assert any("fewer than 6 processes" in text for text in few.warnings)


def test_a_starved_run_is_decided_by_processor_time_and_says_so() -> None:
    cpu = noisy(1.0)
    waited = [c * (3.0 if n % 2 else 1.0) for n, c in enumerate(cpu)]
    found = Comparison(measured(cpu), measured(waited, cpus=cpu, name="b"), in_turn=True)
    assert found.starved
    assert found.verdict == "same"
    assert "processor time" in str(found)
    assert any("waited for a processor" in text for text in found.warnings)
    sleeps = [1.0] * 20
    by_itself = Comparison(
        measured(sleeps, cpus=[0.01] * 20), measured([2.0] * 20, cpus=[0.01] * 20), in_turn=True
    )
    assert not by_itself.starved
    assert by_itself.verdict == "slower"


def test_a_differing_rate_of_success_is_a_verdict_of_its_own() -> None:
    steady = measured(noisy(1.0))
    flaky = measured(noisy(1.0, 10), name="flaky", failures=10)
    found = Comparison(steady, flaky, in_turn=True)
    assert (found.verdict, found.success) == ("same", "fails more")
    assert "it fails more often: ok 10/20, 10 SIGABRT against ok 20/20" in str(found)
    assert Comparison(flaky, steady, in_turn=True).success == "fails less"
    assert Comparison(steady, measured(noisy(1.0, 19), failures=1)).success == "same"


def test_without_a_good_run_there_is_still_a_verdict_about_success() -> None:
    found = Comparison(measured(noisy(1.0)), measured([], name="b", failures=20), in_turn=True)
    assert (found.verdict, found.success) == ("undecided", "fails more")
    assert found.to_dict()["wall"] is None


def test_memory_has_a_verdict() -> None:
    found = Comparison(
        measured(noisy(1.0)), measured(noisy(1.0), name="b", peak=30 * MIB), in_turn=True
    )
    assert found.memory == "more"
    assert "it takes 1.500 times the memory" in str(found)
    assert Comparison(measured(noisy(1.0)), measured(noisy(1.0)), in_turn=True).memory == "same"


def test_a_small_difference_is_called_one_only_where_it_is_asked_for() -> None:
    a, b = measured([1.0] * 12), measured([1.005] * 12)
    assert Comparison(a, b, in_turn=True).verdict == "same"
    assert Comparison(a, b, in_turn=True, min_effect=0.001).verdict == "slower"


def test_one_value_among_equals_is_an_outlier() -> None:
    assert Statistics((20.0,) * 19 + (900.0,)).outliers == (19,)
    assert any(
        "took 45.0 times" in text for text in measured([0.02] * 19 + [0.9]).warnings
    )  # one of twenty: fewer than a tenth, and still worth a word


def test_memory_that_grows_from_run_to_run_is_told() -> None:
    grows = [20 * MIB + n * 5 * MIB for n in range(12)]
    steady = [20 * MIB, *[24 * MIB] * 11]
    told = "memory grows by 5.00 MiB a run"
    walls = noisy(1.0, 12)
    of_one = measured(walls, a_process=12, rss=grows)
    pairs = replace(measured(walls, a_process=2, rss=grows), plan=Plan(warmup_calls=1))
    for m in (of_one, pairs):
        assert any(told in text for text in m.warnings)
    cold_pairs = replace(pairs, plan=Plan(warmup_calls=0))  # the first run fills caches
    for m in (cold_pairs, measured(walls, a_process=12, rss=steady), measured(walls, rss=grows)):
        assert not any("memory grows" in text for text in m.warnings)


def test_the_precision_grows_with_the_runs() -> None:
    few, many = noisy(1.0, 8), noisy(1.0, 60)
    assert half_width([measured(few[:5])]) == math.inf
    assert 0 < half_width([measured(many)]) < half_width([measured(few)]) < 0.02
    pairs = [measured(many), measured(noisy(1.3, 60, seed=2))]
    assert 0 < half_width(pairs) < 0.01
    assert half_width([measured(many), measured([], failures=3)]) == math.inf


def test_the_floor_is_what_equal_code_seems_to_differ_by() -> None:
    found = floor(measured(noisy(1.0)), measured(noisy(1.0, seed=2)))
    assert 0.001 < found < 0.02
    with pytest.raises(ValueError, match="6 runs that succeed"):
        floor(measured([1.0]), measured([1.0]))


def test_limits_are_read_and_refused_with_the_reason() -> None:
    assert read("slower:10%, memory:20%") == [("slower", 0.1), ("memory", 0.2)]
    for text, why in (
        ("quicker:10%", "cannot be limited; what can: slower"),
        ("slower", "in percent, as in slower:10%"),
        ("slower:10", "in percent"),
        ("slower:x%", "no number"),
        ("slower:-1%", "0 % or more"),
    ):
        with pytest.raises(ValueError, match=why):
            read(text)


def test_a_limit_is_passed_by_a_difference_beyond_it() -> None:
    before = measured(noisy(1.0))
    slower = Comparison(before, measured(noisy(1.2, seed=2), name="b"), in_turn=True)
    assert passed(slower, read("slower:10%"))[0].endswith("; the limit is 10 %")
    assert passed(slower, read("slower:30%,memory:0%,fails:0%")) == []
    larger = Comparison(before, measured(noisy(1.0), name="b", peak=30 * MIB), in_turn=True)
    assert passed(larger, read("memory:20%")) == ["b: memory by 50.0%; the limit is 20 %"]
    flaky = Comparison(before, measured(noisy(1.0, 18), name="b", failures=2), in_turn=True)
    assert passed(flaky, read("fails:5%")) == [
        "b: 10.0% of its runs fail, 0.0% did; the limit is 5 %"
    ]


def test_suites_are_compared_by_name() -> None:
    before = (measured(noisy(1.0), name="x"), measured(noisy(1.0), name="y"), measured([1.0]))
    after = (
        measured(noisy(0.5, seed=2), name="y"),
        measured(noisy(2.0, seed=3), name="x"),
        measured([1.0], name="z"),
    )
    found = SuiteComparison(before, after)
    assert [(each.b.name, each.verdict) for each in found.comparisons] == [
        ("y", "faster"),
        ("x", "slower"),
    ]
    assert found.mean == pytest.approx(1.0, rel=0.02)
    assert (found.gone, found.new) == (("m",), ("z",))
    rows = found.rows()
    assert [row[0] for row in rows] == ["y", "x", "geometric mean"]
    assert "z: only after" in found.remarks()
    with pytest.raises(ValueError, match="counterpart of the same name"):
        SuiteComparison(before, (measured([1.0], name="q"),))
    with pytest.raises(ValueError, match="more than one measurement called 'm'"):
        SuiteComparison((before[2], before[2]), after)


def test_exports_have_the_shapes_of_the_other_tools() -> None:
    m = measured([0.001, 0.002, 0.001, 0.002], a_process=2)
    runs = json.loads(pyperf([m]))["benchmarks"][0]["runs"]
    assert [run["values"] for run in runs] == [[0.001, 0.002], [0.001, 0.002]]
    assert runs[0]["warmups"] == [[1, 0.002], [1, 0.004]]
    stats = json.loads(pytest_benchmark([m]))["benchmarks"][0]["stats"]
    assert (stats["median"], stats["rounds"]) == (0.0015, 4)
    assert benchstat([m]).splitlines()[0] == f"BenchmarkM 1 1000000.0 ns/op {20 * MIB} peak-B/op"
    failed = measured([], failures=3)
    assert json.loads(pyperf([failed]))["benchmarks"] == []
    assert json.loads(pytest_benchmark([failed]))["benchmarks"] == []
    assert benchstat([failed]) == ""


def test_interpreters_on_one_machine_can_be_measured_in_turn() -> None:
    def measured(python: str) -> Measurement:
        runs = tuple(
            Run(0.1, 0.1, 0.0, 1 << 20, 0, process=turn, turn=turn, began=1000.0 + turn)
            for turn in range(6)
        )
        return Measurement("m", runs, 1, True, {"host": "h", "python": python})

    assert Comparison(measured("cpython 3.11.7"), measured("cpython 3.13.0")).paired
