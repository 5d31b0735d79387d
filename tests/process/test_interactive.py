"""Agents made at a prompt, in a module that is run, in a program that has or lacks a main guard.

What is defined there lives in ``__main__``, which workers do not have: it travels by value.
Scripts, ``python -c``, standard input: ``test_lifecycle``; IPython and Jupyter: ``tests/notebook``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.conftest import PATIENCE, host_environment


@pytest.fixture(params=["zygote", "spawn"])
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    return {**host_environment(), "PROCORCH_START_METHOD": request.param}


def python(
    *args: str, environment: dict[str, str], cwd: Path, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args],
        input=typed,
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


SESSION = """\
from procorch import AgentOrchestrator, DefaultSupervisor
import os
class Point:
    def __init__(self, x): self.x = x

def double(point):
    return Point(point.x * 2)

orch = AgentOrchestrator(supervisor=DefaultSupervisor())
orch.add_agent("a", lambda: double)
handle = orch.spawn("a")
print(type(handle.deliver(Point(21)).result().output) is Point)
print(handle.deliver(Point(21)).result().output.x)
os.kill(handle.pid, 9)
handle.deliver(Point(1)).exception() and None
print(handle.deliver(Point(4)).result().output.x)
"""


def test_a_session_at_the_prompt(environment: dict[str, str], tmp_path: Path) -> None:
    done = python("-i", "-q", environment=environment, cwd=tmp_path, typed=SESSION)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout.split() == ["True", "42", "8"]
    assert done.returncode == 0


def test_a_definition_that_is_changed_at_the_prompt_reaches_the_next_agent(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = python(
        "-i",
        "-q",
        environment=environment,
        cwd=tmp_path,
        typed="from procorch import AgentOrchestrator\n"
        "orch = AgentOrchestrator()\n"
        "def answer(x): return 'old'\n\n"
        "orch.add_agent('a', lambda: answer)\n"
        "print(orch.spawn('a').deliver(1).result().output)\n"
        "def answer(x): return 'new'\n\n"
        "orch.add_agent('b', lambda: answer)\n"
        "print(orch.spawn('b').deliver(1).result().output)\n",
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout.split() == ["old", "new"]


@pytest.mark.parametrize("guard", ["", "if __name__ == '__main__':\n    "], ids=["bare", "guarded"])
@pytest.mark.parametrize("how", ["script", "module"])
def test_a_program_runs_once_with_or_without_a_main_guard(
    environment: dict[str, str], tmp_path: Path, guard: str, how: str
) -> None:
    (tmp_path / "program.py").write_text(
        "from procorch import AgentOrchestrator\n"
        "def factory():\n"
        "    return lambda x: x + 1\n"
        "def main():\n"
        "    with AgentOrchestrator() as orch:\n"
        "        orch.add_agent('a', factory)\n"
        "        print(orch.spawn('a').deliver(1).result().output)\n"
        "print('runs')\n"
        f"{guard}main()\n"
    )
    args = ["program.py"] if how == "script" else ["-m", "program"]
    done = python(*args, environment=environment, cwd=tmp_path)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == "runs\n2\n"
