"""Agents measured in processes of their own."""

from __future__ import annotations

import os
from typing import Any

import pytest

from procorch import AgentFailure, Measurement, RequestTimeout, StartError, compare, measure

MiB = 1 << 20


def counting():
    """An agent that knows how many requests its process has had."""
    seen = []

    def handle(x):
        seen.append(x)
        if x == "large" and len(seen) > 1:
            return len(b"x" * (40 << 20))
        if x == "raise":
            raise ValueError("boom")
        return len(seen)

    return handle


def working(factor: int):
    def factory():
        def handle(x):
            return sum(i * i for i in range(20_000 * factor))

        return handle

    return factory


def test_each_run_has_a_process_of_its_own_and_figures_of_its_own() -> None:
    counts: list[Any] = []
    m = measure(
        counting, [1, "large"], runs=4, warmup=1, on_run=lambda name, run: counts.append(name)
    )
    assert counts == ["counting"] * 4
    assert (m.name, m.wall.count, m.requests, m.fresh) == ("counting", 4, 2, True)
    assert m.cpu.median > 0
    assert 40 * MiB < m.peak_rss.median < 120 * MiB
    assert m.start.min > 0
    assert m.machine["cores"] == os.cpu_count()


def test_a_warm_process_serves_all_runs() -> None:
    def factory():
        import time

        first = True

        def handle(x):
            nonlocal first
            time.sleep(0.1 if first else 0)
            first = False

        return handle

    warm = measure(factory, runs=3, warmup=1, fresh=False)
    assert warm.wall.max < 0.1
    assert len({run.pid for run in warm.runs}) == 1
    with pytest.raises(ValueError, match="no run of factory tells 'cold'"):
        _ = warm.cold  # its first calls were part of the warm-up
    assert measure(factory, runs=2, warmup=0, fresh=False).cold.values[0] >= 0.1
    fresh = measure(factory, runs=2, warmup=1)
    assert fresh.cold.min >= 0.1 > fresh.wall.max
    assert len({run.pid for run in fresh.runs}) == 2
    assert measure(factory, runs=2, warmup=0, warmup_calls=0).wall.min >= 0.1


def test_memory_of_one_run_is_not_charged_to_the_next() -> None:
    small = measure(lambda: lambda x: None, [0], runs=3, fresh=False)
    mixed = measure(lambda: lambda x: len(b"x" * x), [50 * MiB], runs=3, fresh=False)
    assert small.peak_rss.max < 50 * MiB < mixed.peak_rss.min


def test_agents_that_are_compared_take_turns() -> None:
    turns: list[str] = []
    c = compare(working(1), working(8), runs=6, on_run=lambda name, run: turns.append(name))
    assert turns == ["factory (a)", "factory (b)"] * 6
    assert c.verdict == "slower"
    assert c.wall.value > 3
    assert "factory (b) is slower than factory (a)" in str(c)
    assert compare(c.b, c.a).verdict == "faster"
    assert compare(c.a, c.a).verdict == "same"
    assert c.to_dict()["verdict"] == "slower"
    with pytest.raises(TypeError, match="two measurements or two factories"):
        compare(c.a, working(1))


def test_what_cannot_be_compared_is_said() -> None:
    one = measure(working(1), [1], runs=5, fresh=False)
    two = measure(working(1), [1, 2], runs=5)
    warnings = " ".join(compare(one, two).warnings)
    assert "fresh processes" in warnings
    assert "a run of factory has 1 requests, one of factory 2" in warnings
    other = Measurement(two.name, two.runs, 2, True, {"python": "other"})
    assert "different machines or Pythons" in " ".join(compare(two, other).warnings)


def test_a_failure_ends_the_measurement_by_name() -> None:
    with pytest.raises(AgentFailure, match=r"agent 'counting' failed: ValueError: boom"):
        measure(counting, ["raise"], runs=2)
    with pytest.raises(StartError, match="ZeroDivisionError"):
        measure(lambda: 1 / 0, name="broken", runs=2)

    def sleeper():
        import time

        return lambda x: time.sleep(20)

    with pytest.raises(RequestTimeout):
        measure(sleeper, runs=1, warmup=0, timeout=0.1)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"requests": []}, "no requests"),
        ({"requests": "text"}, "requests must be a list"),
        ({"runs": 0}, "runs must be 1 or more"),
        ({"warmup": -1}, "warmup must be 0 or more"),
        ({"memory_limits": 1}, "did you mean 'memory_limit'"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        measure(counting, **wrong)
