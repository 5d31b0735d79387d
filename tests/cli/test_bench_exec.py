"""`procorch bench --exec`: programs are measured as functions are."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ended

Run = Callable[..., Ended]


def measurements(ended: Ended) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ended.stdout)["measurements"]
    return found


def test_programs_are_measured_compared_and_swept(run: Run) -> None:
    ended = run(
        "bench", "--exec", "sleep {s}", "--exec", "sleep 0.001 {s}", "-P", "s=0.01,0.2", "--runs",
        "6", "--processes", "6", COLUMNS="200",
    )  # fmt: skip
    assert ended.code == 0, ended.stderr
    names = [line.split("  ")[0] for line in ended.stdout.splitlines()[1:5]]
    assert names == ["sleep {s} s=0.01", "sleep {s} s=0.2", "sleep 0.001 {s} s=0.01",
                     "sleep 0.001 {s} s=0.2"]  # fmt: skip
    assert "runs: 24 of 24" in ended.stderr


def test_figures_are_those_of_the_program(run: Run, tmp_path: Path) -> None:
    code = "x = bytearray({size}); sum(range({n}))"
    ended = run("bench", "--exec", f"{sys.executable} -S -c '{code}'", "-r",
                '{"size": 100000000, "n": 2000000}', "--runs", "3", "--json")  # fmt: skip
    assert ended.code == 0, ended.stderr
    (measured,) = measurements(ended)
    for each in measured["runs"]:
        assert 0.02 < each["cpu_user"] + each["cpu_system"] <= each["wall"] * 1.2
        assert each["peak_rss"] > 100_000_000
        assert each["start"] is None
        assert each["way"] is None


def test_processor_time_of_what_measures_does_not_count(run: Run) -> None:
    (measured,) = measurements(run("bench", "--exec", "sleep 0.05", "--runs", "6", "--json"))
    assert all(each["cpu_user"] + each["cpu_system"] < 0.02 for each in measured["runs"])
    assert all(each["wall"] >= 0.05 for each in measured["runs"])


def test_failures_are_named_and_cost_their_runs_only(run: Run) -> None:
    ended = run(
        "bench", "--exec", "sh -c {line}", "-r", "true", "--exec", "sh -c 'exit 3'", "--exec",
        "sh -c 'kill -s SEGV $$'", "--exec", "sleep 100", "--timeout", "3s", "--runs", "2",
        "--json",
    )  # fmt: skip
    assert ended.code == 1
    good, failed, crashed, late = measurements(ended)
    assert (good["success"], failed["success"], crashed["success"], late["success"]) == (
        "ok 2/2", "ok 0/2, 2 exit 3", "ok 0/2, 2 SIGSEGV", "ok 0/2, 2 timeout",
    )  # fmt: skip
    assert failed["failures"][0]["text"] == "agent 'sh -c 'exit 3'' failed: exit code 3"


def test_output_is_dropped_unless_it_is_asked_for(run: Run) -> None:
    ended = run("bench", "--exec", "sh -c 'cat; echo seen'", "--runs", "1", "--json")
    assert json.loads(ended.stdout)
    assert "seen" not in ended.stderr
    ended = run("bench", "--exec", "echo seen", "--runs", "1", "--json", "--show-output")
    assert json.loads(ended.stdout)
    assert "seen" in ended.stderr


def test_a_stored_measurement_is_a_baseline(run: Run) -> None:
    assert run("bench", "--exec", "true", "--runs", "6", "--export-json", "a.json").code == 0
    ended = run("bench", "--exec", "true", "--runs", "6", "--baseline", "a.json", "--markdown")
    assert ended.code == 0, ended.stderr
    assert "true" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--exec", "sleep {s}"], "nothing says what {s} is: give a parameter (-P s=VALUE)"),
        (["--exec", "sleep {}"], "{} stands for a request: give one (-r VALUE)"),
        (["--exec", "true", "-P", "n=1"], "the parameter 'n' is used nowhere"),
        (["--exec", "no-such-program"], "'no-such-program' is not installed"),
        (["--exec", "sleep 'x"], "No closing quotation"),
        (["--exec", "{p}", "-P", "p=ls"], "must not come from a request"),
        (["--exec", "true", "--python", "python3"], "--python and --function are about APP"),
        (["--exec", "true", "--compare", "a.json", "b.json"], "name what is to be measured"),
        ([], "name what is to be measured: APP..., --exec COMMAND"),
    ],
    ids=lambda each: " ".join(each)[:30] if isinstance(each, list) else "",
)
def test_what_cannot_be_measured_is_refused(run: Run, arguments: list[str], said: str) -> None:
    ended = run("bench", *arguments)
    assert (ended.code, ended.stdout) == (2, "")
    assert said in ended.stderr
