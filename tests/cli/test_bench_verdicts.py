"""`procorch bench`: comparisons with files, limits, exports, precision; in real processes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from procorch.bench import Measurement
from procorch.bench.exports import FORMATS
from procorch.bench.records import Plan, Run
from procorch.cli.bench_options import _FORMATS
from tests.cli.conftest import Ended

Command = Callable[..., Ended]


APP = """
def quick():
    return lambda _: sum(range(3_000))

def slow():
    return lambda _: sum(range(30_000))
"""


@pytest.fixture
def app(tmp_path: Path) -> str:
    path = tmp_path / "agents_under_test.py"
    path.write_text(APP)
    return str(path)


def stored(path: Path, *measured: Measurement) -> str:
    path.write_text(json.dumps({"measurements": [each.to_dict() for each in measured]}))
    return str(path)


def made(name: str, wall: float, *, peak: int = 20 << 20, app: str = "") -> Measurement:
    runs = tuple(
        Run(wall * (1 + turn % 3 / 1000), wall, 0.0, peak, 5, process=turn, turn=turn)
        for turn in range(12)
    )
    return Measurement(name, runs, 1, True, {"cores": 2}, plan=Plan(app=app))


def test_suites_are_compared_by_name_and_a_limit_ends_with_five(
    run: Command, tmp_path: Path
) -> None:
    before = stored(tmp_path / "before.json", made("x", 0.1), made("y", 0.1), made("old", 1.0))
    after = stored(tmp_path / "after.json", made("x", 0.2), made("y", 0.1), made("new", 1.0))
    ended = run("bench", "--compare", before, after)
    assert ended.code == 0, ended.stderr
    assert re.search(r"^x +100 ms +200 ms +2\.000 .* slower *$", ended.stdout, re.M)
    assert re.search(r"^y +100 ms +100 ms +1\.000 .* same *$", ended.stdout, re.M)
    assert "geometric mean" in ended.stdout
    assert "old: only before" in ended.stderr
    assert "new: only after" in ended.stderr
    limited = run("bench", "--compare", before, after, "--fail-if", "slower:10%,memory:20%")
    assert limited.code == 5
    assert "beyond the limit: x: slower by 100.0%; the limit is 10 %" in limited.stderr
    kept = run("bench", "--compare", before, after, "--fail-if", "slower:150%", "--json")
    assert kept.code == 0, kept.stderr
    data = json.loads(kept.stdout)
    assert data["geometric_mean"] == pytest.approx(2**0.5)
    assert (data["gone"], data["new"]) == (["old"], ["new"])
    shown = run("bench", "--compare", before, after, "--markdown").stdout
    assert "| benchmark | before | after | ratio |" in shown


def test_an_app_is_compared_with_the_measurement_of_its_name(
    run: Command, app: str, tmp_path: Path
) -> None:
    baseline = stored(tmp_path / "base.json", made(f"{app}:slow", 1e-6), made("gone", 1.0))
    how = ("--runs", "6", "--processes", "6", "--warmup", "0")
    ended = run(
        "bench", f"{app}:slow", f"{app}:quick", "--baseline", baseline, *how,
        "--fail-if", "slower:50%",
    )  # fmt: skip
    assert ended.code == 5
    assert f"{app}:slow: slower by" in ended.stderr
    assert "gone: only before" in ended.stderr


def test_the_app_of_a_file_is_measured_again_in_turn(
    run: Command, app: str, tmp_path: Path
) -> None:
    other = tmp_path / "older.py"
    other.write_text(APP)
    old = stored(tmp_path / "old.json", made("old", 1e-9, app=f"{other}:quick"))
    how = ("--runs", "6", "--processes", "6", "--warmup", "0", "--json")
    data = json.loads(run("bench", "--compare", old, f"{app}:slow", *how).stdout)
    assert [each["name"] for each in data["measurements"]] == [f"{other}:quick", f"{app}:slow"]
    assert data["comparisons"][0]["paired"]
    assert data["comparisons"][0]["verdict"] == "slower"
    other.unlink()
    data = json.loads(run("bench", "--compare", old, f"{app}:slow", *how).stdout)
    assert [each["name"] for each in data["measurements"]] == [f"{app}:slow"]
    assert not data["comparisons"][0]["paired"]


def test_the_floor_of_the_machine_is_measured_on_request(run: Command, app: str) -> None:
    ended = run("bench", f"{app}:quick", "--runs", "8", "--processes", "8", "--floor")
    assert ended.code == 0, ended.stderr
    assert ended.stdout.splitlines()[1].split()[:2] == [f"{app}:quick", "8"]
    assert "% this machine cannot tell" in ended.stdout


def test_runs_go_on_until_the_figures_are_precise(run: Command, app: str) -> None:
    how = ("--runs", "2", "--processes", "2", "--fast", "--json")
    rough = json.loads(run("bench", f"{app}:slow", *how, "--until", "90%").stdout)
    kept = rough["measurements"][0]
    assert 6 <= len(kept["runs"]) < 200
    assert kept["complete"]
    late = run("bench", f"{app}:slow", *how, "--until", "0.0001%", "--max-time", "1s")
    assert "the time was over before" in "".join(
        json.loads(late.stdout)["measurements"][0]["warnings"]
    )


def test_exports_are_written_for_other_tools(run: Command, app: str, tmp_path: Path) -> None:
    files = {form: tmp_path / f"{form}.out" for form in FORMATS}
    exports = [word for form, path in files.items() for word in ("--export", form, str(path))]
    ended = run("bench", f"{app}:quick", "--runs", "2", "--warmup", "0", *exports)
    assert ended.code == 0, ended.stderr
    assert "benchmarks" in json.loads(files["pyperf"].read_text())
    assert "machine_info" in json.loads(files["pytest-benchmark"].read_text())
    assert files["benchstat"].read_text().count("ns/op") == 2
    assert tuple(FORMATS) == _FORMATS


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["a.py:f", "--fail-if", "slower:10%"], "--fail-if is about a comparison"),
        (["a.py:f", "b.py:f", "--fail-if", "quick:10%"], "cannot be limited"),
        (["a.py:f", "--until", "x"], "is not a share"),
        (["a.py:f", "--export", "csv", "x"], "is not one of"),
        (["--compare", "a.py:f", "b.json"], "the file comes first"),
    ],
)
def test_wrong_usage_of_verdicts_is_refused(run: Command, words: list[str], reason: str) -> None:
    ended = run("bench", *words)
    assert ended.code == 2
    assert reason in ended.stderr


def test_a_file_that_is_read_is_not_written(run: Command, tmp_path: Path) -> None:
    before = stored(tmp_path / "before.json", made("x", 0.1))
    after = stored(tmp_path / "after.json", made("x", 0.2))
    link = tmp_path / "link.json"
    link.symlink_to(before)
    for option in (("--export-json", str(link)), ("--export", "pyperf", before)):
        ended = run("bench", "--compare", before, after, *option)
        assert ended.code == 2
        assert "which is read" in ended.stderr
    assert json.loads(Path(before).read_text())["measurements"]
