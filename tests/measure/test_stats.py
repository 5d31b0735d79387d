"""The statistics, against figures known by hand."""

from __future__ import annotations

import random
import re

import pytest

from procorch.bench.measurement import Measurement
from procorch.bench.records import Failure, Plan, Run
from procorch.bench.stats import Statistics, ratio
from procorch.bench.units import duration, size


def runs_of(*walls: float) -> Measurement:
    runs = tuple(Run(wall, wall, 0.0, 20 << 20, 5, 0.01) for wall in walls)
    return Measurement("m", runs, requests=1, fresh=True)


def test_the_figures_are_those_of_the_textbook() -> None:
    of = Statistics((2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0))
    assert (of.count, of.median, of.mean, of.min, of.max) == (8, 4.5, 5.0, 2.0, 9.0)
    assert of.mad == 0.5
    assert of.sd == pytest.approx(2.13809, abs=1e-5)
    assert (of.percentile(0), of.percentile(50), of.percentile(100)) == (2.0, 4.5, 9.0)
    assert of.percentile(25) == 4.0
    assert Statistics((3.0,)).sd == 0.0
    with pytest.raises(ValueError, match="percent must be from 0 to 100"):
        of.percentile(101)
    with pytest.raises(ValueError, match="no runs"):
        Statistics(())


def test_an_outlier_is_found_and_moves_the_median_little() -> None:
    of = Statistics((1.0, 1.01, 0.99, 1.02, 0.98, 30.0))
    assert of.outliers == (5,)
    assert of.median < 1.02
    assert Statistics((1.0, 1.0, 1.0)).outliers == ()


def test_a_ratio_tells_a_difference_from_noise() -> None:
    draw = random.Random(1)
    a = Statistics(tuple(draw.gauss(1.0, 0.02) for _ in range(30)))
    same = Statistics(tuple(draw.gauss(1.0, 0.02) for _ in range(30)))
    double = Statistics(tuple(draw.gauss(2.0, 0.02) for _ in range(30)))
    assert ratio(double, a).value == pytest.approx(2.0, rel=0.03)
    assert ratio(double, a).differs
    assert not ratio(same, a).differs
    assert ratio(double, a) == ratio(double, a)
    assert ratio(Statistics((0.0,)), Statistics((0.0,))).value == 1.0


@pytest.mark.parametrize(
    ("walls", "warning"),
    [
        ((1.0, 1.01, 1.0), "only 3 runs"),
        ((1.0, 1.3, 0.7, 1.2, 0.8, 1.1), "unsteady"),
        ((1.0, 1.01, 0.99, 1.02, 0.98, 9.0, 8.0), "2 of 7 runs are outliers"),
        ((1e-6,) * 6, "too short for its clock"),
        ((1.0, 1.001, 1.0, 0.999, 1.0, 0.8, 0.801, 0.8, 0.799, 0.8), "drifting: .*-20%"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_figures_that_should_not_be_relied_on_say_so(
    walls: tuple[float, ...], warning: str
) -> None:
    assert re.search(warning, "\n".join(runs_of(*walls).warnings))


def test_steady_figures_do_not() -> None:
    assert runs_of(*(1.0 + n % 3 / 1000 for n in range(20))).warnings == ()


def test_a_measurement_survives_json_and_is_a_table_in_markdown() -> None:
    m = runs_of(0.001, 0.0012, 0.0011, 0.001, 0.0011)
    assert Measurement.from_json(m.to_json()) == m
    assert m.to_dict()["statistics"]["wall"]["median"] == 0.0011
    head, line, row = m.to_markdown().splitlines()[:3]
    assert head.startswith("| agent | runs | wall |")
    assert set(line) == set("|-: ")
    assert row.startswith("| m | 5 | 1.10 ms |")
    for text, why in (
        ("{", "no JSON"),
        ("[]", "no measurement"),
        ('{"format": 1}', "damaged"),
        ('{"format": 3}', "format 1 to 2"),
    ):
        with pytest.raises(ValueError, match=why):
            Measurement.from_json(text)


def test_figures_are_written_as_people_read_them() -> None:
    assert [duration(s) for s in (2.5, 0.0123, 999e-6, 5e-9, 0.0)] == [
        "2.50 s",
        "12.3 ms",
        "999 us",
        "5.00 ns",
        "0.00 ns",
    ]
    assert [size(n) for n in (12, 2048, 50 << 20, 3 << 30)] == [
        "12 B",
        "2.00 KiB",
        "50.0 MiB",
        "3.00 GiB",
    ]


def test_failures_and_the_plan_survive_json() -> None:
    ok = Run(
        0.1, 0.1, 0.0, 20 << 20, 5, start=0.02, cold=0.2, each=(0.04, 0.06), hash_seed=7, turn=1
    )
    lost = [Failure("SIGABRT", "killed by SIGABRT", "cold", 0, turn=turn) for turn in (0, 3)]
    late = Failure("timeout", "no answer within 1 s", turn=2)
    plan = Plan(app="a.py:f", params={"n": 10}, runs=4, processes=4)
    m = Measurement("m", (ok,), 2, True, {}, (), (*lost, late), plan, complete=False)
    assert Measurement.from_json(m.to_json()) == m
    assert m.success == "ok 1/4, 2 SIGABRT, 1 timeout"
    assert m.cold.median == 0.2
    with pytest.raises(ValueError, match="no run of m tells 'way'"):
        _ = m.way


def test_without_a_run_that_succeeded_figures_say_why_there_are_none() -> None:
    m = Measurement("m", (), 1, True, failures=(Failure("SIGSEGV", "killed by SIGSEGV"),))
    with pytest.raises(ValueError, match="no run of m has figures: ok 0/1, 1 SIGSEGV"):
        _ = m.wall
    assert Measurement.from_json(m.to_json()) == m


@pytest.mark.parametrize("fresh", [True, False])
def test_a_file_of_version_0_1_is_read(fresh: bool) -> None:
    run = {"wall": 0.1, "cpu_user": 0.1, "cpu_system": 0.0, "peak_rss": 1, "page_faults": 2}
    old = {
        "format": 1, "name": "m", "requests": 1, "fresh": fresh, "machine": {"cores": 2},
        "notes": [], "warnings": [], "statistics": {}, "runs": [{**run, "start": 0.0}] * 3,
    }  # fmt: skip
    m = Measurement.from_dict(old)
    assert m.wall.values == (0.1, 0.1, 0.1)
    assert {run.process for run in m.runs} == ({0, 1, 2} if fresh else {0})
    assert (m.plan, m.complete, m.failures) == (None, True, ())
