"""What `procorch batch` says of its input, as a shell sees it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import COMMAND, LIMIT, Ended, environment

Run = Callable[..., Ended]

APP = """
import os

def name():
    return lambda item: repr(item)

def shrinker():
    def handle(item):
        os.truncate("in.jsonl", 400 * 12)
    return handle
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an app."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def piped(*arguments: str, **how: Any) -> Ended:
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=LIMIT,
        env=environment({}), **how,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "Error: the input is an empty path"),
        ("-", "Error: standard input has no items"),
        ("empty.jsonl", "Error: empty.jsonl has no items"),
        ("empty", "Error: empty has no items"),
    ],
)
def test_an_empty_input_is_refused(folder: Path, run: Run, given: str, says: str) -> None:
    (folder / "empty.jsonl").touch()
    (folder / "empty").mkdir()
    ended = run("batch", "app.py:name", given, "-o", "run.db", "-j", "1")
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1].startswith(says)
    if given:
        assert run("batch", "app.py:name", given, "-o", "run.db", "--allow-empty").code == 0


def test_a_closed_standard_input_is_refused(folder: Path) -> None:
    ended = piped("batch", "app.py:name", "-", "-o", "run.db", preexec_fn=lambda: os.close(0))
    assert ended.code == 2
    assert ended.stderr == "Error: standard input cannot be read: it is closed\n"


def test_a_warning_is_one_line(folder: Path, run: Run) -> None:
    (folder / "in.csv").write_text("id;q\n1;x\n")
    ended = run("batch", "app.py:name", "in.csv", "-o", "run.db", "-j", "1", "--json")
    assert ended.code == 0
    assert json.loads(ended.stdout)["output"] == "{'id': '1', 'q': 'x'}"
    assert [line for line in ended.stderr.splitlines() if "warning" in line] == [
        "procorch: warning: in.csv: fields are taken to be separated by a semicolon, not by a "
        "comma; delimiter= (--delimiter) says which"
    ]
    again = run("batch", "app.py:name", "in.csv", "-o", "run.db", "--resume", "--delimiter", ";")
    assert "warning" not in again.stderr
    planned = run("batch", "app.py:name", "in.csv", "-o", "run.db", "--dry-run")
    assert "warning: in.csv: fields are taken" in planned.stderr


def test_an_input_that_shrinks_is_not_called_finished(folder: Path, run: Run) -> None:
    text = "".join(json.dumps({"id": n}) + "\n" for n in range(100, 600))
    (folder / "in.jsonl").write_text(text)
    ended = run("batch", "app.py:shrinker", "in.jsonl", "-o", "run.db", "-j", "1")
    assert ended.code == 1
    assert "400 ok, 0 failed of 500 items" in ended.stdout
    assert "100 items no longer there, not run: 500, 501, 502, 503, 504 and 95" in ended.stderr
    command = next(
        line for line in ended.stdout.splitlines() if line.endswith("--accept-changes --resume")
    )
    again = run(*shlex.split(command)[1:])
    assert (again.code, "400 ok, 0 failed of 400 items" in again.stdout) == (0, True)


def test_an_input_that_is_the_journal_or_the_output_is_refused(folder: Path, run: Run) -> None:
    (folder / "run.failed.jsonl").write_text('{"id": 1}\n')
    (folder / "link.jsonl").symlink_to("run.failed.jsonl")
    for given, out in (
        ("link.jsonl", "run.failed.jsonl"),
        ("run.failed.jsonl", "run.db"),
        ("link.jsonl", "run"),
    ):
        ended = run("batch", "app.py:name", given, "-o", out)
        assert (ended.code, "the same file" in ended.stderr) == (2, True)
    with (folder / "run.failed.jsonl").open("a") as file:
        done = subprocess.run(
            [*COMMAND, "batch", "app.py:name", "link.jsonl", "-o", "other.db", "--json"],
            stdout=file, stderr=subprocess.PIPE, text=True, timeout=LIMIT, env=environment({}),
        )  # fmt: skip
    assert (done.returncode, "writes standard output" in done.stderr) == (2, True)
    assert (folder / "run.failed.jsonl").read_text() == '{"id": 1}\n'
    names = sorted(set(os.listdir(folder)) - {"__pycache__"})
    assert names == ["app.py", "link.jsonl", "run.failed.jsonl"]


def test_the_usual_journal_has_all_of_the_name_of_its_input(folder: Path, run: Run) -> None:
    for day in ("27", "28"):
        (folder / f"data.2026-11-{day}.jsonl").write_text('{"id": 1}\n')
        assert run("batch", "app.py:name", f"data.2026-11-{day}.jsonl", "-j", "1").code == 0
    (folder / "in.csv").write_text("id\n1\n")
    assert run("batch", "app.py:name", "in.csv", "-j", "1").code == 0
    names = ["name-data.2026-11-27.db", "name-data.2026-11-28.db", "name-in.db"]
    assert sorted(os.listdir(".procorch")) == names


def test_a_usual_journal_that_0_1_named_goes_on(folder: Path, run: Run) -> None:
    (folder / "data.1.jsonl").write_text('{"id": 1}\n')
    assert run("batch", "app.py:name", "data.1.jsonl", "-j", "1").code == 0
    os.rename(".procorch/name-data.1.db", ".procorch/name-data.db")
    ended = run("batch", "app.py:name", "data.1.jsonl", "-j", "1", "--resume")
    assert "1 of them in earlier runs" in ended.stdout + ended.stderr
    (folder / "data.2.jsonl").write_text('{"id": 1}\n')
    assert run("batch", "app.py:name", "data.2.jsonl", "-j", "1").code == 0
    assert sorted(os.listdir(".procorch")) == ["name-data.2.db", "name-data.db"]


def test_what_is_wrong_without_the_app_is_refused_before_the_app_is_imported(
    folder: Path, run: Run
) -> None:
    (folder / "app.py").write_text(
        "open('imported', 'w').close()\ndef name():\n    return lambda item: item\n"
    )
    assert run("batch", "app.py:name", "missing.jsonl", "-o", "run.db").code == 2
    assert run("batch", "app.py:name", "missing.jsonl", "--shard", "3/2").code == 2
    assert not (folder / "imported").exists()
