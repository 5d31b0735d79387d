"""`procorch batch` and the verbs about its runs, as a shell sees them."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, LIMIT, Ended, environment

Run = Callable[..., Ended]

APP = """
import os

def double():
    def handle(item):
        if item["id"] == "crash":
            os.abort()
        if item["id"].startswith("wrong"):
            raise ValueError("no " + item["id"])
        return item["n"] * 2
    return handle

def unmade():
    raise RuntimeError("no model here")

nothing = None
"""


HELD = """
import os, time

def double():
    done = []

    def handle(item):
        if len(done) == 2 and os.path.exists("held"):
            time.sleep(600)  # the batch is halted before
        done.append(item)
        return item["n"] * 2
    return handle
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an app and an input of six items, three of which fail."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(APP)
    names = ("a", "crash", "b", "wrong1", "wrong2", "c")
    lines = [json.dumps({"id": name, "n": n}) + "\n" for n, name in enumerate(names)]
    (tmp_path / "in.jsonl").write_text("".join(lines))
    return tmp_path


def flat(text: str) -> str:
    return " ".join(text.split())


# ---- the whole way


def test_a_batch_from_input_to_export(folder: Path, run: Run) -> None:
    ended = run("batch", "app.py:double", "in.jsonl", "-o", "run.db", "-j", "1", COLUMNS="120")
    assert ended.code == 1, ended.stderr
    text = flat(ended.stdout)
    assert "3 ok, 3 failed of 6 items" in text
    assert "2 error ValueError at app.py:9 in handle wrong1" in text
    assert "1 crashed SIGABRT at app.py:7 in handle crash" in text
    assert "procorch batch app.py:double in.jsonl -o run.db -j 1 --retry-failed" in text
    assert "batch: 6/6 items, 3 failed" in ended.stderr
    assert "x crash crashed: SIGABRT" in ended.stderr
    assert "gets a new process" not in ended.stderr

    rows = [json.loads(line) for line in run("export", "run.db").stdout.splitlines()]
    assert [(row["id"], row["ok"], row["output"]) for row in rows] == [
        ("a", True, 0), ("crash", False, None), ("b", True, 4), ("wrong1", False, None),
        ("wrong2", False, None), ("c", True, 10),
    ]  # fmt: skip
    assert rows[1]["reason"] == "crashed"
    assert rows[3]["error"] == "agent 'double' failed: ValueError: no wrong1"
    assert rows[0]["attempts"] == 1
    assert rows[0]["wall"] > 0
    assert run("export", "run.db", "--format", "csv", "-o", "out.csv").code == 0
    with open("out.csv", newline="") as file:
        assert [row["output"] for row in csv.DictReader(file)] == ["0", "", "4", "", "", "10"]
    log = run("export", "run.db", "--format", "joblog", "--failed").stdout.splitlines()
    assert [line.split("\t")[6:] for line in log[1:]] == [
        ["0", "6", "crash"], ["1", "0", "wrong1"], ["1", "0", "wrong2"],
    ]  # fmt: skip

    again = run("batch", "app.py:double", "in.jsonl", "-o", "run.db", "--resume")
    assert again.code == 1
    assert "6 of them in earlier runs" in again.stdout

    (folder / "in.jsonl").rename("old.jsonl")
    app = (folder / "app.py").read_text().replace('startswith("wrong")', 'startswith("mean")')
    (folder / "app.py").write_text(app)
    mended = run("batch", "app.py:double", "run.failed.jsonl", "-o", "again.db")
    assert mended.code == 1
    assert "2 ok, 1 failed of 3 items" in mended.stdout
    refused = run("batch", "app.py:double", "old.jsonl", "-o", "run.db", "--retry-failed")
    assert refused.code == 2
    assert "the factory app:double has changed since" in refused.stderr
    assert '+        if item["id"].startswith("mean"):' in refused.stderr
    accepted = run(
        "batch", "app.py:double", "old.jsonl", "-o", "run.db", "--retry-failed", "--accept-changes"
    )
    assert "5 ok, 1 failed of 6 items" in accepted.stdout

    shown = run("show", "run.db", "crash").stdout
    assert "attempt 1: crashed: SIGABRT at app.py:7 in handle" in shown
    assert "attempt 2: crashed" in shown
    assert "Fatal Python error: Aborted" in shown
    assert re.search(r'File ".*app.py", line 7 in handle\n +\.\.\. \d+ frames of procorch\n', shown)
    assert "lifecycle.py" not in shown
    assert "failed for good: crashed" in shown
    shown = run("show", "run.db").stdout
    assert "app:double on old.jsonl: finished" in shown
    assert len(re.findall(r"(started|resumed|finished) \(runner \d\)", shown)) == 6
    (found,) = [json.loads(line) for line in run("runs", ".", "--json").stdout.splitlines()][1:]
    assert (found["run"], found["state"], found["ok"], found["total"]) == (
        "run.db", "finished", 5, 6,
    )  # fmt: skip
    assert run("show", "run.db", "--check", "--json").stdout == '{"damaged": []}\n'


def test_json_is_one_object_an_item_in_the_order_asked_for(folder: Path, run: Run) -> None:
    ended = run("batch", "app.py:double", "in.jsonl", "--json", "--keep-order", "-j", "2")
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [row["id"] for row in rows] == ["a", "crash", "b", "wrong1", "wrong2", "c"]
    assert rows[2]["output"] == 4
    assert "3 ok, 3 failed" in ended.stderr
    # Without -o the journal has a place and a name of its own.
    assert (folder / ".procorch" / "double-in.db").exists()
    assert run("show", "double-in", "--json").code == 0


def test_items_may_come_from_a_pipe_and_are_done_as_they_come(folder: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "batch", "app:double", "-", "-o", "run.db", "--json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment({}),
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    for n in range(3):
        process.stdin.write(json.dumps({"id": f"i{n}", "n": n}) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["output"] == n * 2
    process.stdin.close()
    assert process.wait(LIMIT) == 0
    process.stdout.close()


def test_parts_are_merged_into_one(folder: Path, run: Run) -> None:
    for part in "1", "2":
        run("batch", "app:double", "in.jsonl", "-o", f"{part}.db", "--shard", f"{part}/2")
    ended = run("merge", "1.db", "2.db", "-o", "all.db")
    assert (ended.code, ended.stdout) == (0, "3 ok, 3 failed items of 2 parts in all.db\n")
    again = run("batch", "app:double", "in.jsonl", "-o", "all.db", "--resume")
    assert "6 of them in earlier runs" in again.stdout
    twice = run("merge", "2.db", "2.db", "-o", "twice.db")
    assert twice.code == 2
    assert "2.db and 2.db are both part 2/2" in twice.stderr
    assert not (folder / "twice.db").exists()
    told = run("merge", "1.db", "2.db", "-o", "told.db", "--json")
    assert json.loads(told.stdout) == {
        "run": "told.db", "ok": 3, "failed": 3, "parts": 2, "complete": True, "missing": [],
        "unfinished": [],
    }  # fmt: skip
    assert not list(folder.glob(".*.tmp*"))


def test_a_merge_of_missing_and_unfinished_parts_says_so(folder: Path, run: Run) -> None:
    """And what is left of them is run with the command that it prints."""
    lines = [json.dumps({"id": f"{n}", "n": n}) + "\n" for n in range(30)]
    (folder / "in.jsonl").write_text("".join(lines))
    (folder / "app.py").write_text(HELD)
    for part in "1", "3":
        halt = ()
        if part == "3":
            halt = ("--halt", "now,done=2")
            (folder / "held").touch()
        run("batch", "app:double", "in.jsonl", "-j", "1", f"--out={part}.db", "--shard",
            f"{part}/3", *halt)  # fmt: skip
    (folder / "held").unlink()
    ended = run("merge", "1.db", "3.db", "-o", "all.db")
    assert ended.code == 1
    assert "part 2/3 is missing; 3.db: " in ended.stderr
    assert "items have no outcome (halted)" in ended.stderr
    command = "procorch batch app:double in.jsonl -j 1 -o all.db"
    assert f"{command} --resume" in ended.stderr
    shown = run("show", "all.db", COLUMNS="200").stdout
    assert "app:double on in.jsonl: incomplete" in shown
    assert f"{command} --resume" in shown
    assert "1.db --shard" not in shown

    run("batch", "app:double", "in.jsonl", "-o", "2.db", "--shard", "2/3")
    later = json.loads(run("merge", "all.db", "2.db", "-o", "more.db", "--json").stdout)
    assert (later["missing"], later["complete"]) == ([], False)
    again = run(*shlex.split(command)[1:], "--resume")
    assert again.code == 0, again.stderr
    assert "30 ok, 0 failed of 30 items" in again.stdout
    assert json.loads(run("show", "all.db", "--json").stdout)["state"] == "finished"


@pytest.mark.parametrize("out", ["1.db", "1.db-wal", "link", "2.db.lock"])
def test_a_merge_never_writes_a_part(folder: Path, run: Run, out: str) -> None:
    for part in "1", "2":
        run("batch", "app:double", "in.jsonl", "-o", f"{part}.db", "--shard", f"{part}/2")
    os.symlink("2.db", "link")
    before = [(folder / name).read_bytes() for name in ("1.db", "2.db")]
    assert run("merge", "1.db", "2.db", "-o", out).code == 2
    assert [(folder / name).read_bytes() for name in ("1.db", "2.db")] == before


def test_items_that_left_the_input_are_counted_apart_everywhere(folder: Path, run: Run) -> None:
    run("batch", "app:double", "in.jsonl", "-o", "run.db", "-j", "1")
    lines = (folder / "in.jsonl").read_text().splitlines(keepends=True)
    (folder / "in.jsonl").write_text("".join(lines[2:]))  # without a, ok, and crash, failed
    ended = run(
        "batch", "app:double", "in.jsonl", "-o", "run.db", "--resume", "--accept-changes"
    )  # fmt: skip
    assert "2 ok, 2 failed of 4 items" in ended.stdout
    apart = "2 more outcomes are of items that are no longer in the input"
    assert apart in ended.stdout
    shown = run("show", "run.db").stdout
    assert "2 ok, 2 failed of 4 items" in shown
    assert apart in shown
    told = json.loads(run("show", "run.db", "--json").stdout)
    assert (told["ok"], told["failed"], told["total"], told["gone"]) == (2, 2, 4, 2)
    assert sum(each["count"] for each in told["failures"]) == 2
    (listed,) = [json.loads(line) for line in run("runs", ".", "--json").stdout.splitlines()]
    assert (listed["ok"], listed["failed"], listed["total"], listed["gone"]) == (2, 2, 4, 2)
    exported = run("export", "run.db")
    assert [json.loads(line)["id"] for line in exported.stdout.splitlines()] == [
        "b", "wrong1", "wrong2", "c",
    ]  # fmt: skip
    assert f"{apart}; --all gives them, too" in exported.stderr
    assert len(run("export", "run.db", "--all").stdout.splitlines()) == 6
    failed = (folder / "run.failed.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in failed} == {"wrong1", "wrong2"}
    assert "it is no longer in the input" in run("show", "run.db", "crash").stdout

    (folder / "in.jsonl").write_text("".join(lines))  # they are back
    back = run("batch", "app:double", "in.jsonl", "-o", "run.db", "--resume", "--accept-changes")
    assert "3 ok, 3 failed of 6 items" in back.stdout
    assert json.loads(run("show", "run.db", "--json").stdout)["gone"] == 0


def test_the_summary_of_an_interrupted_batch_is_that_of_its_journal(folder: Path, run: Run) -> None:
    lines = [json.dumps({"id": f"{n}", "n": n}) + "\n" for n in range(1000)]
    lines += [json.dumps({"id": "wrong", "n": 0}) + "\n", json.dumps({"id": "last", "n": 0}) + "\n"]
    (folder / "in.jsonl").write_text("".join(lines[:1000]))
    run("batch", "app:double", "in.jsonl", "-o", "run.db", "-j", "1")
    (folder / "in.jsonl").write_text("".join([*lines[1000:], *lines[:1000]]))
    ended = run(
        "batch", "app:double", "in.jsonl", "-o", "run.db", "-j", "1", "--resume",
        "--accept-changes", "--halt", "now,fail=1",
    )  # fmt: skip
    told = json.loads(run("show", "run.db", "--json").stdout)
    assert ended.code == 5
    assert f"{told['ok']} ok, {told['failed']} failed of 1002 items" in ended.stdout
    assert told["ok"] >= 1000


def test_a_dry_run_reads_everything_and_runs_nothing(folder: Path, run: Run) -> None:
    ended = run("batch", "app:double", "in.jsonl", "-o", "run.db", "--dry-run")
    assert ended.code == 0
    assert "6 are to be run, a, crash, b first" in ended.stdout
    assert not (folder / "run.db").exists()
    run("batch", "app:double", "in.jsonl", "-o", "run.db", "--limit", "4")
    ended = run(
        "batch", "app:double", "in.jsonl", "-o", "run.db", "--dry-run", "--json", "--resume"
    )
    assert json.loads(ended.stdout) == {
        "total": 6, "ok": 2, "failed": 2, "changed": 0, "left": 2,
    }  # fmt: skip
    ended = run("batch", "app:double", "in.jsonl", "-o", "run.db", "--dry-run", "--retry-failed")
    assert "4 are to be run, crash, wrong1, wrong2 first" in ended.stdout
    with open("in.jsonl", "a") as file:
        file.write('{"id": "a"}\n')
    ended = run("batch", "app:double", "in.jsonl", "-o", "run.db", "--dry-run")
    assert ended.code == 2
    assert "item 'a' is there twice: in.jsonl:1, and in.jsonl:7" in ended.stderr


@pytest.mark.parametrize("out", [(), ("-o", "run.db")])
def test_a_dry_run_writes_nothing(out: tuple[str, ...], folder: Path, run: Run) -> None:
    before = sorted(folder.rglob("*"))
    assert run("batch", "app.py:double", "in.jsonl", *out, "--dry-run").code == 0
    assert sorted(folder.rglob("*")) == before
    run("batch", "app.py:double", "in.jsonl", *out)
    before = sorted(folder.rglob("*"))
    assert run("batch", "app.py:double", "in.jsonl", *out, "--dry-run", "--resume").code == 0
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("--redo", "--resume"), ("--resume", "--shard", "1/2"), ("--redo", "--halt", "later"),
        ("--redo", "--retry-on", "crash"), ("--resume", "--id", "n"), ("-o", "missing/run.db"),
        ("-o", "."), ("-o", "in.jsonl"),
    ],
    ids=lambda arguments: " ".join(arguments) or "there is a batch already",
)  # fmt: skip
def test_a_dry_run_refuses_what_the_run_would_refuse(
    arguments: tuple[str, ...], folder: Path, run: Run
) -> None:
    batch = ("batch", "app.py:double", "in.jsonl", "-o", "run.db")
    run(*batch)
    real, dry = run(*batch, *arguments), run(*batch, *arguments, "--dry-run")
    assert (dry.code, dry.stdout, dry.stderr) == (2, "", real.stderr)


def test_a_dry_run_refuses_a_changed_app_and_a_changed_input(folder: Path, run: Run) -> None:
    batch = ("batch", "app.py:double", "in.jsonl", "-o", "run.db", "--resume", "--dry-run")
    run(*batch[:-2])
    with open("in.jsonl", "a") as file:
        file.write('{"id": "new", "n": 1}\n')
    changed = run(*batch)
    assert (changed.code, "the input has changed since" in changed.stderr) == (2, True)
    assert "1 are to be run, new first" in run(*batch, "--accept-changes").stdout
    (folder / "app.py").write_text(APP.replace("* 2", "* 3"))
    changed = run(*batch)
    assert (changed.code, "has changed since" in changed.stderr) == (2, True)


def test_a_halted_batch_says_so_by_its_exit_code(folder: Path, run: Run) -> None:
    ended = run("batch", "app:double", "in.jsonl", "-o", "run.db", "--halt", "soon,fail=1", "-j1")
    assert ended.code == 5
    assert "halted by soon,fail=1" in ended.stderr
    assert "--resume" in ended.stdout
    assert "halted" in run("show", "run.db").stdout


# ---- what is wrong with what was given


@pytest.mark.parametrize(
    ("app", "says"),
    [
        ("app.py", "write package.module:factory or path/to/file.py:factory"),
        ("nowhere.py:f", "there is no file 'nowhere.py'"),
        ("no_such_module:f", "'no_such_module' does not import: ModuleNotFoundError"),
        ("app.py:duoble", "has no 'duoble'; did you mean 'double'?"),
        ("app:nothing", "a factory is a function without arguments, not NoneType"),
        ("broken.py:f", "'broken.py' does not import: ZeroDivisionError: division by zero ("),
        ("typo.py:f", "'typo.py' does not import: SyntaxError"),
        ("ap.py:double", "there is no file 'ap.py'; did you mean 'app.py'?"),
        ("appp:double", "No module named 'appp'; did you mean 'app'?"),
        ("sub/app:double", "'sub/app' is no module: write sub/app.py:double"),
        ("leaves.py:f", "'leaves.py' does not import: SystemExit: no key ("),
        ("kills.py:f", "'kills.py:f' ends the process that imports it: SIGABRT"),
        ("sub/near.py:f", "as a part of its package it is sub.near:f"),
        ("app:unmade", "the agent cannot be started: agent 'unmade' failed to start in phase"),
    ],
)
def test_an_app_that_cannot_be_had_is_named_with_the_reason(
    app: str, says: str, folder: Path, run: Run
) -> None:
    (folder / "broken.py").write_text("x = 1\ny = x / 0\n")
    (folder / "typo.py").write_text("def f(:\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "near.py").write_text("from . import other\n")
    (folder / "leaves.py").write_text("raise SystemExit('no key')\n")
    (folder / "kills.py").write_text("import os\nos.abort()\n")
    ended = run("batch", app, "in.jsonl", "-o", "run.db")
    assert (ended.code, ended.stdout) == (2, "")
    assert says in flat(ended.stderr)
    assert "Traceback" not in ended.stderr
    assert not (folder / "run.db").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere.jsonl",), "nowhere.jsonl cannot be read: No such file"),
        (("bad.jsonl",), "bad.jsonl:2: not JSON"),
        (("in.jsonl", "--retires", "2"), "No such option"),
        (("in.jsonl", "--halt", "later"), "write 'never', 'soon,fail=3'"),
        (("in.jsonl", "--shard", "3"), "write 2/8"),
        (("in.jsonl", "--retry-on", "crash"), "did you mean 'crashed'?"),
        (("in.jsonl", "-o", "missing/run.db"), "missing/run.db cannot be written: there is no"),
        (("in.jsonl", "-o", "app.py"), "app.py is not a run of procorch"),
        (("in.jsonl", "--id", "name"), "in.jsonl:1: there is no field 'name'"),
        (("in.jsonl", "--timeout", "soon"), "'soon' is not a duration"),
        (("twice.jsonl",), "item '1' is there twice: twice.jsonl:1, and twice.jsonl:2"),
        (("in.jsonl", "--redo", "--resume"), "redo forgets what resume would go on with"),
        (("in.jsonl", "-o", "."), ". cannot be written: it is a folder"),
    ],
)
def test_bad_input_is_a_line_that_says_what_to_do(
    arguments: tuple[str, ...], says: str, folder: Path, run: Run
) -> None:
    (folder / "bad.jsonl").write_text('{"id": 1}\n{"id": \n')
    (folder / "twice.jsonl").write_text('{"id": 1}\n{"id": 1}\n')
    ended = run("batch", "app:double", *arguments)
    assert (ended.code, ended.stdout) == (2, "")
    assert says in flat(ended.stderr)
    assert "Traceback" not in ended.stderr


THROTTLED = """
import os, time
from procorch import ModelThrottled

def busy():
    def handle(item):
        with open("calls", "a") as calls:
            calls.write("x")
        if not os.path.exists("first"):
            open("first", "w").close()
        if time.time() < os.path.getmtime("first") + 0.5:
            raise ModelThrottled("slow down", retry_after=0.6)
        return item["n"]
    return handle
"""


def test_a_throttled_batch_pauses_says_so_and_needs_no_retries(folder: Path, run: Run) -> None:
    (folder / "busy.py").write_text(THROTTLED)
    ended = run("batch", "busy.py:busy", "in.jsonl", "-o", "run.db", "-j", "2")
    assert ended.code == 0, ended.stderr
    assert "batch: 0/6 items, paused 1 s: throttled by agent 'busy': slow down" in ended.stderr
    assert "6 ok, 0 failed of 6 items" in flat(ended.stdout)
    assert 7 <= len((folder / "calls").read_text()) <= 8
    assert "throttled" not in run("batch", "app.py:double", "in.jsonl", "-o", "b.db").stderr


def test_a_pause_can_be_made_shorter_or_done_without(folder: Path, run: Run) -> None:
    (folder / "busy.py").write_text(THROTTLED)
    ended = run("batch", "busy.py:busy", "in.jsonl", "-o", "run.db", "-j", "1", "--max-pause", "0")
    assert ended.code == 1, ended.stderr
    assert "paused" not in ended.stderr
    assert "ModelThrottled" in ended.stdout


@pytest.mark.parametrize(
    ("rate", "says"), [("fast", "is not a rate; write '10/s'"), ("0/s", "0/s")]
)
def test_a_rate_that_is_none_is_refused(rate: str, says: str, folder: Path, run: Run) -> None:
    ended = run("batch", "app.py:double", "in.jsonl", "-o", "run.db", "--rate", rate)
    assert ended.code == 2
    assert "--rate" in ended.stderr
    assert says in flat(ended.stderr)
    assert not (folder / "run.db").exists()


def test_a_rate_is_kept(folder: Path, run: Run) -> None:
    ended = run("batch", "app.py:double", "in.jsonl", "-o", "run.db", "--rate", "10/s", "--json")
    assert len(ended.stdout.splitlines()) == 6
    took = re.search(r"in ([0-9.]+) s", flat(ended.stderr))
    assert took is not None
    assert float(took[1]) >= 0.4


def test_a_misspelled_option_gets_the_nearest_name(folder: Path, run: Run) -> None:
    ended = run("batch", "app:double", "in.jsonl", "--retires", "2")
    assert "--retries" in ended.stderr


def test_a_run_that_is_not_there_is_named_with_the_nearest(folder: Path, run: Run) -> None:
    run("batch", "app:double", "in.jsonl", "--limit", "1")
    ended = run("show", "double-inn")
    assert ended.code == 4
    assert "no run 'double-inn'; did you mean 'double-in'?" in ended.stderr
    assert run("show", "double-in", "zzz").code == 4
    (folder / ".procorch" / "other.db").write_text("no run of ours, and no database either")
    listed = run("runs")
    assert "unreadable: .procorch/other.db is not a run of procorch" in listed.stderr
    table = listed.stdout
    assert re.search(r"^double-in +finished", table, re.MULTILINE)
    assert "app:double" in table


def test_where_there_are_no_runs_none_are_listed(folder: Path, run: Run) -> None:
    ended = run("runs")
    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "no runs in .procorch\n")
    assert run("runs", "nowhere").code == 2


HUMBLE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a program for which the modes of files count, even if we are root."""


@pytest.mark.parametrize("out", [(), ("-o", "run.db")])
def test_a_folder_that_cannot_be_written_is_named(out: tuple[str, ...], folder: Path) -> None:
    folder.chmod(0o500)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", HUMBLE, *COMMAND, "batch", "app:double", "in.jsonl", *out],
            capture_output=True, text=True, timeout=LIMIT, env=environment({}),
        )  # fmt: skip
    finally:
        folder.chmod(0o700)
    assert ended.returncode == 2
    where = (
        "run.db cannot be written" if out else "the folder .procorch for journals cannot be made"
    )
    assert where in ended.stderr
    assert "Permission denied" in ended.stderr


def test_parquet_is_written_for_other_tools(folder: Path, run: Run) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run("batch", "app:double", "in.jsonl", "-o", "run.db")
    ended = run("export", "run.db", "--format", "parquet", "-o", "out.parquet")
    assert ended.code == 0, ended.stderr
    rows = parquet.read_table("out.parquet").to_pylist()
    assert [(row["id"], row["output"]) for row in rows][:3] == [
        ("a", "0"), ("crash", None), ("b", "4"),
    ]  # fmt: skip


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_completion(shell: str, run: Run) -> None:
    ended = run("completion", shell)
    assert ended.code == 0
    assert "_PROCORCH_COMPLETE" in ended.stdout


def test_a_shell_is_told_the_verbs(run: Run) -> None:
    assert "plain,batch" in completed(run, "procorch ba")


def completed(run: Run, line: str) -> list[str]:
    """What bash is told for the last word of a line; `file,` has it complete names of files."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    return run(_PROCORCH_COMPLETE="bash_complete", **words).stdout.split()


def test_a_shell_is_told_files_and_runs_and_what_has_failed(folder: Path, run: Run) -> None:
    assert completed(run, "procorch batch ") == ["file,"]
    assert completed(run, "procorch batch app.py:double in") == ["file,in"]
    run("batch", "app:double", "in.jsonl")
    assert completed(run, "procorch show dou") == ["file,dou", "plain,double-in"]
    assert completed(run, "procorch show double-in wr") == ["plain,wrong1", "plain,wrong2"]
    assert completed(run, "procorch show nowhere wr") == []


def test_bash_completes_after_an_app_though_it_has_a_colon(folder: Path, run: Run) -> None:
    """On a terminal: bash itself splits the word at the colon."""
    script = run("completion", "bash").stdout
    (folder / "questions.csv").touch()
    (folder / "bin").mkdir()
    quoted = " ".join(map(shlex.quote, COMMAND))
    (folder / "bin" / "procorch").write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
    (folder / "bin" / "procorch").chmod(0o700)
    (folder / "rc").write_text(f"PATH=$PWD/bin:$PATH\n{script}\nPS1='ready> '\n")
    ours, theirs = pty.openpty()
    bash = subprocess.Popen(
        ["bash", "--noprofile", "--rcfile", "rc", "-i"],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment({}), start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        until(ours, b"ready> ")
        os.write(ours, b"procorch batch app.py:double quest\t")
        assert b"app.py:double questions.csv" in until(ours, b"questions.csv")
    finally:
        bash.kill()
        bash.wait()
        os.close(ours)


def until(fd: int, wanted: bytes) -> bytes:
    """What a terminal has shown when this has come."""
    seen = b""
    while wanted not in seen:
        seen += os.read(fd, 4096)
    return seen


# ---- results of the app's own classes


OWN = """
import dataclasses, enum, sys
print("imported", *sys.argv[1:2])

@dataclasses.dataclass
class Grade:
    points: int
    parts: list

class Colour(enum.Enum):
    RED = "red"

class Public:
    def __init__(self):
        self.name = "n"

@dataclasses.dataclass(frozen=True, slots=True)
class Fixed:
    x: int

def grader():
    return lambda item: {"grade": Grade(item["n"], [Colour.RED]), "object": Public(), "n": 1}

def fixed():
    return lambda item: Fixed(item["n"])
"""


@pytest.mark.parametrize("app", ["there", "gone", "broken"])
def test_results_of_the_apps_classes_are_given_back_anywhere(
    folder: Path, run: Run, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "own.py").write_text(OWN)
    ended = run("batch", "mine/own.py:grader", "in.jsonl", "-o", "run.db", "--json", "--limit", "1")
    assert ended.code == 0, ended.stderr
    expected = {"grade": {"points": 0, "parts": ["red"]}, "object": {"name": "n"}, "n": 1}
    lines = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    assert json.loads(lines[0])["output"] == expected
    if app == "gone":
        (folder / "mine" / "own.py").unlink()
    elif app == "broken":
        (folder / "mine" / "own.py").write_text("import sys; print('hello'); sys.exit('no')")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    exported = run("export", "../run.db")
    assert exported.code == 0, exported.stderr
    assert json.loads(exported.stdout)["output"] == expected
    assert json.loads(run("show", "../run.db", "a", "--json").stdout)["output"] == expected
    table = list(csv.DictReader(run("export", "../run.db", "--format", "csv").stdout.splitlines()))
    assert json.loads(table[0]["output"]) == expected


def test_a_class_whose_pickle_has_no_names_is_found_where_the_app_was(
    folder: Path, run: Run
) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "own.py").write_text(OWN)
    assert run("batch", "mine/own.py:fixed", "in.jsonl", "-o", "run.db", "--limit", "1").code == 0
    assert json.loads(run("export", "run.db").stdout)["output"] == {"x": 0}


def test_a_damaged_page_costs_the_rows_on_it(folder: Path, run: Run) -> None:
    """`export` and `show` give the others and name those; `--retry-failed` runs them again."""
    (folder / "long.py").write_text("def app():\n    return lambda item: 'v' * 3000\n")
    (folder / "in.txt").write_text("".join(f"{n}\n" for n in range(40)))
    assert run("batch", "long.py:app", "in.txt", "-o", "run.db").code == 0
    size = (folder / "run.db").stat().st_size
    with (folder / "run.db").open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(os.urandom(4096))
    ended = run("export", "run.db", "-o", "out.jsonl")
    assert ended.code == 1
    assert "run.db is damaged: 1 of 40 outcomes cannot be read: " in ended.stderr
    assert "procorch batch long.py:app in.txt -o run.db --retry-failed" in ended.stderr
    given = {json.loads(line)["id"] for line in (folder / "out.jsonl").read_text().splitlines()}
    assert len(given) == 39
    shown = run("show", "run.db", "--json")
    assert shown.code == 1
    told = json.loads(shown.stdout)
    assert told["ok"] == 39
    assert told["lost"][0] not in given
    checked = run("show", "run.db", "--check")
    assert (checked.code, checked.stdout.split()) == (1, told["lost"])
    assert "--retry-failed" in run("batch", "long.py:app", "in.txt", "-o", "run.db").stderr
    again = run("batch", "long.py:app", "in.txt", "-o", "run.db", "--retry-failed")
    assert again.code == 0, again.stderr
    assert "40 ok, 0 failed of 40 items" in again.stdout
    assert (
        "1 outcomes could not be read; the damaged file is kept as run.db.damaged"
        in run("show", "run.db", COLUMNS="200").stdout
    )
