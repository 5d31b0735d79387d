"""`procorch up` with a real daemon: from an empty folder to an answer, and to its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, LIMIT, Ended, environment

Run = Callable[..., Ended]


def test_a_newcomer_has_an_answer_and_a_daemon_that_ends(
    run: Run, call: Run, tmp_path: Path
) -> None:
    assert call("init").code == 0
    command = [*COMMAND, "wait", "--ready", "--timeout", "45s"]  # also before the daemon is there
    waiting = subprocess.Popen(command, env=environment({}))
    ended = run("up", "-d", "--json")
    assert ended.code == 0, ended.stderr
    assert waiting.wait(LIMIT) == 0
    told = json.loads(ended.stdout)
    pid = told["pid"]
    assert told == {"schema": 1, "pid": pid, "ready": True, "failed": {}}
    try:
        answer = call("send", "greeter", "hello").stdout
        assert answer.startswith("You said 'hello'. This is answer 1 of process ")
        status = json.loads(call("status", "--json", "--check").stdout)
        assert (status["daemon"]["pid"], status["agents"][0]["state"]) == (pid, "READY")
        assert call("logs", "greeter").stdout == "greeter/0 | request 1\n"
        assert f"daemon | info: pid {pid} listens on " in call("logs", "daemon").stdout
        second = run("up")
        assert (second.code, second.stdout) == (1, "")
        assert f"pid {pid}, configuration {tmp_path}/procorch.toml" in second.stderr
        assert run("up", "-d").stderr == second.stderr
    finally:
        ended = call("down", "--json")
    assert (ended.code, json.loads(ended.stdout)) == (0, {"schema": 1, "pid": pid, "ended": True})
    assert call("status").code == 3


def test_a_daemon_in_the_background_says_which_agents_did_not_start(
    run: Run, call: Run, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text(
        "def works():\n    return lambda request: 1\n\n\nfails = 1 / 1\n"
    )
    (tmp_path / "procorch.toml").write_text(
        '[agents.good]\nfactory = "a.py:works"\n'
        '[agents.bad]\nfactory = "a.py:fails"\nrestart = "temporary"\n'
    )
    ended = run("up", "-d")
    try:
        assert (ended.code, ended.stdout) == (1, "")
        first, second = ended.stderr.splitlines()
        assert first.endswith("; not all agents could be started")
        assert second.startswith("bad: ")
        assert call("wait", "--ready", "good").code == 0
    finally:
        assert call("down").code == 0


def test_a_daemon_in_the_background_is_waited_for_no_longer_than_was_told(
    run: Run, call: Run, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "never")
    (tmp_path / "a.py").write_text("def make():\n    open('never')\n")
    (tmp_path / "procorch.toml").write_text('[agents.a]\nfactory = "a.py:make"\n')
    ended = run("up", "--timeout", "1s")
    assert (ended.code, ended.stdout) == (2, "")
    assert "--timeout is for --detach" in ended.stderr
    ended = run("up", "-d", "--timeout", "50ms", "--json")
    pid = json.loads(ended.stdout)["pid"]
    try:
        assert ended.code == 6
        assert json.loads(ended.stdout) == {"schema": 1, "pid": pid, "ready": False, "failed": {}}
    finally:
        os.kill(pid, signal.SIGKILL)  # it may not listen yet


@pytest.mark.parametrize(
    ("arguments", "written"),
    [((), "greeter/0 | request 1"), (("--json",), '"text":"request 1"'), (("--quiet",), None)],
    ids=str,
)
def test_the_foreground_shows_what_agents_write(
    arguments: tuple[str, ...], written: str | None, call: Run
) -> None:
    call("init")
    process = subprocess.Popen(
        [*COMMAND, "up", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment({}),
    )  # fmt: skip
    try:
        while call("wait", "--ready").code == 3:
            assert process.poll() is None
        assert call("send", "greeter", "hello").code == 0
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=LIMIT)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    assert (process.returncode, stderr) == (0, "")
    lines = [line for line in stdout.splitlines() if "request 1" in line]
    assert len(lines) == (0 if written is None else 1)
    assert written is None or written in lines[0].replace('": "', '":"')
