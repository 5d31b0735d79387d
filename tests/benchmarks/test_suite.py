"""The benchmark suite runs, and says what it found. No test looks at a time."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks import cli, page, registry, running, wording
from benchmarks.figures import Report, from_json, judge, series_of, to_json
from benchmarks.host import ContenderFailed, Host
from benchmarks.rows import Goal, Metric

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "benchmarks"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One run of everything at the smallest scale."""
    path = tmp_path_factory.mktemp("report") / "figures.json"
    done = subprocess.run(
        [*COMMAND, "--smoke", "--json", str(path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return from_json(path.read_bytes())


@pytest.mark.parametrize("name", registry.IDS)
def test_each_row_gives_the_figures_of_every_contender_that_is_installed(
    name: str, report: Report
) -> None:
    """And only what is not installed is left out."""
    row = registry.row(name)
    (outcome,) = [each for each in report.rows if each.id == name]
    assert outcome.left_out == running.absent(row)
    there = [each for each in row.contenders if each not in outcome.left_out]
    assert [(each.metric, each.contender) for each in outcome.series] == [
        (metric, contender) for metric in row.metrics for contender in there
    ]
    for each in outcome.series:
        assert len(each.rounds) == row.smoke.rounds
        assert each.count >= len(each.rounds)
    for goal, verdict in zip(row.goals, outcome.verdicts, strict=True):
        measurable = goal.of in there and (goal.how == "within" or set(goal.against) & set(there))
        assert (verdict.figure is not None) == bool(measurable)


def test_a_report_survives_its_file(report: Report) -> None:
    """What is read is what was written."""
    assert from_json(to_json(report)) == report


def test_the_page_has_every_row_and_how_to_repeat_it(report: Report) -> None:
    """Numbers of the rows, names of the contenders, the command."""
    text = page.markdown(report)
    assert "python -m benchmarks" in text
    for outcome in report.rows:
        assert f"## {outcome.id}: {outcome.work}" in text
        for each in outcome.series:
            assert each.contender in text


def test_the_page_begins_with_each_target_that_is_missed(report: Report) -> None:
    """A reader who stops after half a page knows their rows."""
    text = page.markdown(report)
    summary = text[text.index("## In short") : text.index("## How it was measured")]
    missed = [
        outcome.id
        for outcome in report.rows
        if any(verdict.target_met is False for verdict in outcome.verdicts)
    ]
    assert not missed or f"Rows that miss one: {', '.join(missed)}." in summary
    assert "[targets](#targets) are met" in summary


def test_a_picture_is_drawn_or_what_it_needs_is_said(report: Report, tmp_path: Path) -> None:
    """With every row in it; without matplotlib nothing is measured first."""
    source, path = tmp_path / "figures.json", tmp_path / "picture.svg"
    source.write_bytes(to_json(report))
    # Not in this process: matplotlib keeps the files of its fonts open.
    done = subprocess.run(
        [*COMMAND, "--from", source, "--plot", path], cwd=ROOT, capture_output=True, text=True
    )
    if importlib.util.find_spec("matplotlib") is None:
        assert done.returncode != 0
        assert "pip install 'procorch[plots]'" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert path.read_text(encoding="utf-8").count('id="axes_') >= len(report.rows)


def test_json_for_stdout_stands_there_alone() -> None:
    """The tables and the progress go to stderr then."""
    done = subprocess.run(
        [*COMMAND, "P8", "--smoke", "--json", "-"], cwd=ROOT, capture_output=True, text=True
    )
    assert [row["id"] for row in json.loads(done.stdout)["rows"]] == ["P8"]
    assert "P8 (1 of 1)" in done.stderr


def test_what_was_measured_before_ctrl_c_is_written(tmp_path: Path) -> None:
    """The exit code is 130."""
    path = tmp_path / "figures.json"
    process = subprocess.Popen(
        [*COMMAND, "P7", "P8", "--smoke", "--json", str(path)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "P8" in line:
            process.send_signal(signal.SIGINT)
            break
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 130
    assert "interrupted after 1 of 2 rows" in said
    assert [row.id for row in from_json(path.read_bytes()).rows] == ["P7"]


def test_a_contender_that_dies_is_told_from_one_that_is_slow() -> None:
    """Both are left out, and the reason says which."""
    host = Host("P8", "procorch", 1, patience=30)
    try:
        host.opened()
        os.kill(host.pid, signal.SIGKILL)
        with pytest.raises(ContenderFailed, match="its process has ended"):
            host.round()
    finally:
        host.kill()
    slow = Host("P8", "procorch", 1, patience=0.0)
    try:
        with pytest.raises(ContenderFailed, match="no answer within 0 s"):
            slow.opened()
    finally:
        slow.kill()


def test_where_the_time_goes_is_told_for_caller_monitor_and_worker() -> None:
    """By the profile of each."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.where", "many", "--requests", "100", "--top", "3"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if sys.version_info >= (3, 12):
        assert done.returncode == 2
        assert "several threads at once" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert "by the clock" in done.stdout
    for name in ("caller", "monitor", "worker"):
        assert f"{name}, µs a request" in done.stdout


def test_the_length_of_the_way_of_a_request_is_told() -> None:
    """Calls, changes of module, processor time, and system calls where strace can be used."""
    command = [sys.executable, "-m", "benchmarks.call_path", "--requests", "100"]
    done = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 0 < found["changes"] < found["own_calls"] <= found["calls"]
    assert found["own_calls"] <= 90
    assert found["changes"] <= 40
    for name in ("parent_cpu", "worker_cpu", "pipelined_parent_cpu", "pipelined_worker_cpu"):
        assert 0 < found[name] < 1
    traced = found["parent_system_calls"], found["worker_system_calls"]
    if traced != (None, None):
        for calls in traced:
            assert calls["sendto"] >= 1  # the request, and the answer
        # One more of anything is one more for each request.
        assert sum(traced[1].values()) < 8
    elif shutil.which("strace") is not None:
        forbidden = subprocess.run(["strace", "true"], capture_output=True)
        assert forbidden.returncode != 0, "strace works, and the system calls are not told"


def test_another_version_is_compared_in_turns() -> None:
    """Here with itself."""
    command = [sys.executable, "-m", "benchmarks.beside", sys.executable]
    sizes = ["--requests", "20", "--rounds", "2"]
    done = subprocess.run([*command, *sizes], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for mode in ("one at a time", "pipelined"):
        for process in ("parent", "worker"):
            assert f"{mode}, {process}: " in done.stdout


# Judging.


def verdict_on(goal: Goal, metric: Metric, **rounds: list[float]) -> tuple[float | None, str]:
    """The figure, and the reference that it was taken from."""
    series = [
        series_of(name, "time", metric, [{"time": [figure]} for figure in figures])
        for name, figures in rounds.items()
    ]
    verdict = judge(goal, metric, series)
    return verdict.figure, verdict.against


def test_a_ratio_is_taken_round_by_round() -> None:
    """So a slow second of the machine, which hits both, does not count."""
    goal = Goal("times", ("pipe",))
    figure, _ = verdict_on(goal, Metric("s"), procorch=[2, 20, 2], pipe=[1, 10, 1])
    assert figure == 2


def test_of_several_references_the_best_counts() -> None:
    """The fastest for a time, the highest for a rate; one that is missing is none."""
    goal = Goal("faster", ("a", "b", "missing"))
    assert verdict_on(goal, Metric("s"), procorch=[1], a=[3], b=[2]) == (2, "b")
    rates = Metric("1/s", better="high")
    assert verdict_on(goal, rates, procorch=[6], a=[3], b=[2]) == (2, "a")


def test_without_a_reference_there_is_no_figure() -> None:
    """Neither met nor missed."""
    goal = Goal("times", ("missing",), target=1.0)
    assert verdict_on(goal, Metric("s"), procorch=[1]) == (None, "missing")


def test_a_difference_has_the_unit_of_its_metric() -> None:
    """And is written with its sign."""
    metric = Metric("s")
    series = [
        series_of(name, "time", metric, [{"time": [figure]}])
        for name, figure in (("procorch", 0.030), ("nothing", 0.010))
    ]
    verdict = judge(Goal("over", ("nothing",), target=0.020, stretch=0.010), metric, series)
    assert wording.measured(verdict) == "+20 ms"
    assert wording.mark(verdict, verdict.stretch) == "+10 ms"
    assert (verdict.target_met, verdict.stretch_met) == (True, False)


def test_a_tail_is_a_measured_figure_of_all_rounds() -> None:
    """The nearest rank of the 99th percentile."""
    rounds = [{"time": [float(figure) for figure in range(start, 200, 2)]} for start in (0, 1)]
    assert series_of("procorch", "time", Metric("s"), rounds).p99 == 197


# The command line.


def invoke(*arguments: str) -> Result:
    """Run the command here."""
    return CliRunner().invoke(cli.command, arguments, standalone_mode=True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["P4x"], "there is no row 'P4x'; did you mean 'P4'?"),
        (["nothing"], "rows: P1, P1b,"),
        (["--quick", "--smoke"], "only one of them"),
        (["--json", "/no/such/place/figures.json"], "no directory that can be written to"),
        (["--plot", "picture.txt"], "its name must end in .svg, .png, .pdf"),
        (["--from", __file__], "is no report of this suite"),
    ],
)
def test_a_mistake_is_named_before_anything_is_measured(
    arguments: list[str], complaint: str
) -> None:
    """With exit code 2."""
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert complaint in " ".join(result.output.split())


def test_the_list_says_who_takes_part() -> None:
    """Rows can be named in any case."""
    result = invoke("--list", "p1B")
    assert result.output.startswith("P1b ")
    assert "multiprocessing.Pool" in result.output
