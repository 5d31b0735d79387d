"""Runs that procorch 0.1 has written go on working: `show`, `export`, `runs`, resume, retry.

The files are in `tests/batch/fixtures/v01`; `make.py` beside them says how they came about.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentOrchestrator, DefaultSupervisor
from procorch.batch.start import run_batch
from tests.cli.conftest import Ended

Run = Callable[..., Ended]

FIXTURES = Path(__file__).parents[1] / "batch" / "fixtures" / "v01"
FAILED = {
    "error": "error", "late-crash": "crashed", "late-memory": "memory", "poison": "poison",
    "timeout": "timeout", "cancelled": "cancelled", "serialization": "serialization",
    "throttled": "error",
}  # fmt: skip
UNFINISHED = ("left-1", "left-2", "left-3")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The working directory of somebody who has used 0.1, and has just updated."""
    for path in FIXTURES.iterdir():
        if path.is_file() and path.name != "make.py":
            shutil.copy(path, tmp_path)
    return tmp_path


def exported(run: Run, journal: str, *options: str) -> dict[str, dict[str, Any]]:
    ended = run("export", journal, *options)
    assert ended.code == 0, ended.stderr
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    return {row["id"]: row for row in rows}


def test_show_tells_an_old_run(old: Path, run: Run) -> None:
    told = json.loads(run("show", "run.db", "--json").stdout)
    assert told["state"] == "halted"
    assert (told["ok"], told["failed"], told["total"]) == (15, 8, 26)
    assert sum(each["count"] for each in told["failures"]) == 8
    text = run("show", "run.db").stdout
    assert "15 ok, 8 failed of 26 items" in text
    assert "procorch batch fixture_app.py:grader in.jsonl" in text
    assert run("show", "run.db", "--check").code == 0


def test_show_tells_the_items_of_an_old_run(old: Path, run: Run) -> None:
    poison = run("show", "run.db", "poison").stdout
    assert poison.count("SIGABRT at fixture_app.py:79 in _fail") == 3
    assert "failed for good: poison" in poison
    kept = json.loads(run("show", "run.db", "late-success", "--json").stdout)
    assert kept["output"] == {"tries": 3}
    assert "grading late-success" in kept["log"]
    assert [each["number"] for each in kept["failed_attempts"]] == [1, 2]
    assert "it has no outcome yet" in run("show", "run.db", "left-1").stdout


def test_export_gives_an_old_run(old: Path, run: Run) -> None:
    rows = exported(run, "run.db")
    assert len(rows) == 23
    assert {id: row["reason"] for id, row in rows.items() if not row["ok"]} == FAILED
    assert rows["ok-json"]["output"] == {
        "answer": 42, "list": [1, 2.5, None, True], "text": "grün",
    }  # fmt: skip
    assert rows["ok-tuple"]["output"] == [1, "two", [3.0]]
    assert rows["ok-big"]["output"] == {"n": 2**70}
    assert rows["ok-nan"]["output"] == {"loss": None, "name": "n"}
    assert rows["ok-date"]["output"] == {"at": "2026-01-02T03:04:05", "path": "/x/y"}
    assert rows["ok-keys"]["output"] == {"1": "a", "[2,3]": "b"}
    assert rows["ok-numpy"]["output"] == {"score": 0.5, "counts": [0, 1, 2], "name": "n"}
    # 0.1 did not note where the app was: its objects are given by their fields all the same.
    grade = {"points": 7, "remarks": ["good", "short"], "best": [1, 2]}
    assert rows["ok-grade"]["output"] == grade
    assert rows["ok-nested"]["output"]["pair"] == [1, 2]
    assert set(exported(run, "run.db", "--failed")) == set(FAILED)
    for form in ("csv", "joblog"):
        assert len(run("export", "run.db", "--format", form).stdout.splitlines()) >= 24


def test_runs_lists_old_runs(old: Path, run: Run) -> None:
    listed = [json.loads(line) for line in run("runs", ".", "--json").stdout.splitlines()]
    assert {Path(each["run"]).name: each["state"] for each in listed} == {
        "killed.db": "killed", "run.db": "halted",
    }  # fmt: skip


def test_an_old_run_is_resumed(old: Path, run: Run) -> None:
    again = ("batch", "fixture_app.py:grader", "in.jsonl", "-o", "run.db", "-j", "1")
    ended = run(*again, "--resume", MENDED="1")
    assert ended.code == 1, ended.stderr
    assert "18 ok, 8 failed of 26 items" in ended.stdout
    assert "23 of them in earlier runs" in ended.stdout
    begun = {path.name for path in old.glob("tried-*")}
    assert begun == {f"tried-{id}" for id in UNFINISHED}  # nothing that had its outcome
    ended = run(*again, "--retry-failed", MENDED="1")
    assert ended.code == 0, ended.stderr
    rows = exported(run, "run.db")
    assert len(rows) == 26
    assert rows["poison"]["output"] == {"mended": "poison"}
    assert rows["poison"]["attempts"] == 4  # three of them by the old version


def test_the_journal_of_a_runner_that_was_killed_goes_on(old: Path, run: Run) -> None:
    """Its last commits are in the log beside it."""
    assert set(exported(run, "killed.db")) == {"ok-json", "ok-grade", "error"}
    ended = run(
        "batch", "fixture_app.py:grader", "killed.jsonl", "-o", "killed.db", "-j", "1", "--resume",
        MENDED="1",
    )  # fmt: skip
    assert ended.code == 1, ended.stderr
    assert "4 ok, 1 failed of 5 items" in ended.stdout


def test_an_old_failed_file_is_input(old: Path, run: Run) -> None:
    ended = run(
        "batch", "fixture_app.py:grader", "run.failed.jsonl", "-o", "again.db", "-j", "1",
        MENDED="1",
    )  # fmt: skip
    assert ended.code == 0, ended.stderr
    assert {id: row["output"] for id, row in exported(run, "again.db").items()} == {
        id: {"mended": id} for id in FAILED
    }


def test_the_api_hands_an_old_run_out(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(old))
    import fixture_app

    with run_batch(
        fixture_app.grader, str(old / "in.jsonl"), out=old / "run.db", resume=True, workers=1,
        limit=23,
    ) as batch:  # fmt: skip
        items = {item.id: item for item in batch}
    assert items["ok-grade"].output == fixture_app.Grade(7, ["good", "short"])
    assert items["ok-set"].output == {3}
    assert type(items["poison"].error).__name__ == "PoisonRequest"


def test_an_old_checkpoint_is_restored(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversation that 0.1 stored is understood by an agent of today."""
    monkeypatch.syspath_prepend(str(old))
    import fixture_app

    with AgentOrchestrator(supervisor=DefaultSupervisor()) as orchestrator:
        orchestrator.add_agent("talker", fixture_app.talker)
        agent = orchestrator.spawn("talker")
        monitor: Any = orchestrator._monitor
        (link,) = monitor._instances.values()
        link.checkpoint = (old / "talker.checkpoint").read_bytes()
        pid = agent.info().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        answer = agent.submit("three", retries=1).result(timeout=30)
        assert answer.text == "one two three"
