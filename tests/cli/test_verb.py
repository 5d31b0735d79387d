"""What verbs have in common: variables of their own, a command that repeats them, two streams."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from procorch.cli import main as cli
from procorch.cli import verb
from tests.cli.conftest import COMMAND, LIMIT, Ended, environment

Run = Callable[..., Ended]

APP = """
import ctypes, logging, os, subprocess, sys

print("importing")
os.write(1, b"raw\\n")
ctypes.CDLL(None).write(1, b"native\\n", 7)
subprocess.run(["echo", "child"])
logging.basicConfig(stream=sys.stdout, level=logging.DEBUG)
logging.getLogger("app").warning("warned")

def echo():
    print("making")
    def handle(item):
        print("working")
        os.write(1, b"raw\\n")
        if item == "environment":
            return sorted(name for name in os.environ if name.startswith("PROCORCH_"))
        return item
    return handle
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "in.jsonl").write_text('"a"\n"b"\n"c"\n"environment"\n')
    return tmp_path


# ---- variables


def test_every_parameter_has_a_variable_with_the_name_of_its_verb() -> None:
    context = click.Context(cli.group)
    for name in cli.VERBS:
        command = cli.group.get_command(context, name)
        assert isinstance(command, verb.Verb)
        variable = name.upper().replace("-", "_")
        for param in command.params:
            own = param.envvar[0] if isinstance(param.envvar, list) else param.envvar
            if isinstance(param, click.Option):
                flag = max(param.opts, key=len)[2:].upper().replace("-", "_")
                assert own == f"PROCORCH_{variable}_{flag}"
            elif own is not None:
                assert own.startswith(f"PROCORCH_{variable}_")


def test_a_variable_of_one_verb_does_not_reach_another(folder: Path, run: Run) -> None:
    run("batch", "app.py:echo", "in.jsonl", "-o", "run.db")
    ended = run("export", "run.db", PROCORCH_BATCH_OUT="other.db", PROCORCH_OUT="run.db")
    assert len(ended.stdout.splitlines()) == 4
    assert "PROCORCH_OUT is not read: several verbs have it; set PROCORCH_EXPORT_OUT" in (
        ended.stderr
    )
    assert run("export", "run.db", PROCORCH_EXPORT_OUT="out.jsonl").stdout == ""
    assert len((folder / "out.jsonl").read_text().splitlines()) == 4


def test_an_old_name_that_one_verb_had_works_with_a_warning(folder: Path, run: Run) -> None:
    batch = ("batch", "app.py:echo", "in.jsonl", "-o", "run.db", "-j", "1")
    ended = run(*batch, PROCORCH_HALT="soon,done=1")
    assert ended.code == 5
    assert "PROCORCH_HALT is called PROCORCH_BATCH_HALT now" in ended.stderr
    ended = run(*batch, "--redo", PROCORCH_HALT="soon,done=1", PROCORCH_BATCH_HALT="never")
    assert ended.code == 0, "the new name wins"
    assert "PROCORCH_HALT" not in ended.stderr
    ended = run(*batch, "--redo", "--halt", "never", PROCORCH_BATCH_HALT="soon,done=1")
    assert ended.code == 0, "a flag wins over both"


def test_workers_have_no_variables_of_procorch(folder: Path, run: Run) -> None:
    given = {
        "PROCORCH_BATCH_WORKERS": "1", "PROCORCH_START_METHOD": "spawn", "PROCORCH_CACHE": "/c",
    }  # fmt: skip
    ended = run("batch", "app.py:echo", "in.jsonl", "--json", **given)
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert rows[-1]["output"] == ["PROCORCH_CACHE"]


def test_the_command_that_goes_on_needs_no_environment(folder: Path, run: Run) -> None:
    (folder / "in.jsonl").rename(folder / "-my in.jsonl")
    given = {
        "PROCORCH_BATCH_OUT": "my run.db", "PROCORCH_BATCH_WORKERS": "1",
        "PROCORCH_BATCH_TIMEOUT": "1h30m", "PROCORCH_BATCH_RETRY_ON": "error timeout",
        "PROCORCH_BATCH_KEEP_ORDER": "1", "PROCORCH_BATCH_WATCH": "0", "PROCORCH_BATCH_REDO": "1",
        "PROCORCH_BATCH_SEED": "-1", "PROCORCH_BATCH_HALT": "soon,done=2",
        "PROCORCH_START_METHOD": "spawn",
    }  # fmt: skip
    ended = run("batch", "--retries=2", "--", "app.py:echo", "-my in.jsonl", **given)
    assert ended.code == 5, ended.stderr
    (line,) = (each for each in ended.stdout.splitlines() if "--resume" in each)
    assert shlex.split(line) == [
        "procorch", "batch", "--out", "my run.db", "--workers", "1", "--timeout", "1h30m",
        "--retry-on", "error", "--retry-on", "timeout", "--halt", "soon,done=2", "--keep-order",
        "--seed=-1", "--start-method", "spawn", "--retries=2", "app.py:echo", "./-my in.jsonl",
        "--resume",
    ]  # fmt: skip
    assert line.strip() in run("show", "my run.db").stdout
    again = run(*shlex.split(line)[1:])
    assert (again.code, "of them in earlier runs" in again.stdout) == (0, True)


def test_arguments_may_come_from_the_environment_and_are_printed(folder: Path, run: Run) -> None:
    given = {"PROCORCH_BATCH_APP": "app.py:echo", "PROCORCH_BATCH_IN": "in.jsonl"}
    ended = run("batch", "-j1", "--halt", "soon,done=1", **given)
    assert "procorch batch -j1 --halt soon,done=1 app.py:echo in.jsonl --resume" in ended.stdout


# ---- streams


@pytest.mark.parametrize("method", ["zygote", "spawn"])
def test_nothing_but_data_reaches_standard_output(method: str, folder: Path, run: Run) -> None:
    ended = run(
        "batch", "app.py:echo", "in.jsonl", "-o", "run.db", "--json", "--start-method", method
    )
    assert ended.code == 0
    assert len([json.loads(line) for line in ended.stdout.splitlines()]) == 4
    words = ("--runs", "1", "--warmup", "0", "--json", "--show-output")
    ended = run("bench", "app.py:echo", *words)
    assert set(json.loads(ended.stdout)) == {"measurements"}
    for text in ("importing", "making", "raw"):
        assert text in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [("export", "run.db"), ("show", "run.db"), ("show", "run.db", "--json"), ("runs", ".")],
    ids=" ".join,
)
def test_a_full_standard_output_is_an_error_in_one_line(
    arguments: tuple[str, ...], folder: Path, run: Run
) -> None:
    run("batch", "app.py:echo", "in.jsonl", "-o", "run.db")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=LIMIT, env=environment({}),
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == ("Error: standard output cannot be written: No space left on device\n")


def test_progress_that_cannot_be_written_does_not_end_a_batch(folder: Path) -> None:
    (folder / "quiet.py").write_text("def echo():\n    return lambda item: item\n")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "batch", "quiet.py:echo", "in.jsonl", "-o", "run.db"], stderr=full,
            stdout=subprocess.PIPE, text=True, timeout=LIMIT, env=environment({}),
        )  # fmt: skip
    assert (done.returncode, "4 ok" in done.stdout) == (0, True)


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_stream_ends_nothing(closed: int, folder: Path) -> None:
    """Its number is not given to a file, either: what is written there would damage that."""
    (folder / "app.py").write_text(APP.replace("print(", "str("))
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *COMMAND, "batch", "app.py:echo", "in.jsonl"],
        capture_output=True, text=True, timeout=LIMIT, env=environment({}),
    )  # fmt: skip
    assert done.returncode == 0
    assert "4 ok" in done.stdout or closed == 1
    assert os.path.exists(".procorch/echo-in.db")
