"""What is read from a daemon: `logs`, `events`, `stack`, `disk`, `prune`; completed names."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from procorch.cli.daemon import form
from tests.cli import fake_core
from tests.cli.conftest import COMMAND, LIMIT, Ended, environment
from tests.cli.fake_core import FakeCore

Call = Callable[..., Ended]


def test_lines_of_output_have_the_instance_in_front(call: Call, daemon: FakeCore) -> None:
    ended = call("logs")
    assert ended == Ended(0, "solver/0 | thinking\nindex/0 | no index\x07\n", ""), "no colours"
    assert daemon.calls == [
        ("logs", ["solver", "critic", "index", "lint", "daemon"], False, 100, None)
    ]


def test_lines_as_json_have_all_that_is_known(call: Call, daemon: FakeCore) -> None:
    ended = call("logs", "solver", "-n", "5", "--json")
    assert [json.loads(line) for line in ended.stdout.splitlines()] == [
        {"schema": 1, **fake_core.LINES[0]}
    ]
    assert daemon.calls == [("logs", ["solver"], False, 5, None)]


def test_lines_may_be_chosen_by_their_age(call: Call, daemon: FakeCore) -> None:
    before = time.time()
    call("logs", "--since", "10m")
    _, _, _, last, since = daemon.calls[0]
    assert last is None, "all of them"
    assert before - 600 <= since <= time.time() - 600


def test_following_goes_on_until_the_reader_has_had_enough(daemon: FakeCore) -> None:
    process = subprocess.Popen(
        [*COMMAND, "logs", "-f", "solver"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=environment({}),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "solver/0 | thinking\n"
    process.terminate()
    _, stderr = process.communicate(timeout=LIMIT)
    assert (process.returncode, "Traceback" in stderr) == (143, False)


def test_log_files_are_rotated(call: Call, daemon: FakeCore) -> None:
    assert call("logs", "--rotate") == Ended(0, "solver.1.log.gz\n", "1 log file rotated\n")
    assert json.loads(call("logs", "--rotate", "--json").stdout) == {
        "schema": 1, "rotated": ["solver.1.log.gz"],
    }  # fmt: skip
    assert call("logs", "--rotate", "solver").code == 2


def test_events_are_one_line_each(call: Call, daemon: FakeCore) -> None:
    at = [form.moment(each["time"]) for each in fake_core.EVENTS]
    assert call("events").stdout == (
        f"{at[0]}  solver/0  Ready\n"
        f"{at[1]}  index/0  Crashed error=AgentCrashed: agent 'index' died: x\n"
        f"{at[2]}  index/0  Restarting counted=True restart=4 max_restarts=5 planned=False\n"
    )
    assert daemon.calls[0][2:] == (False, 50, None)
    ended = call("events", "solver", "--json")
    assert json.loads(ended.stdout) == {"schema": 1, **fake_core.EVENTS[0]}


def test_a_stack_is_told_for_each_process(call: Call, daemon: FakeCore) -> None:
    assert call("stack", "solver").stdout == (
        'solver/0, pid 4127:\n  Thread "main":\n    File "f.py", line 9\n'
        "solver/1, pid 4140:\n  it did not tell its stack in time\n"
    )
    found = json.loads(call("stack", "solver", "--json").stdout)
    assert (found["schema"], found["name"], len(found["stacks"])) == (1, "solver", 2)


def test_what_the_folder_takes_up_is_told_by_kind(call: Call, daemon: FakeCore) -> None:
    assert call("disk").stdout == (
        "KIND     BYTES  LIMIT\nlogs      3.0M   1.0G\nhistory   4.0K      -\n"
    )
    assert json.loads(call("disk", "--json").stdout) == {
        "schema": 1, "logs": {"bytes": 3 << 20, "limit": 1 << 30},
        "history": {"bytes": 4096, "limit": None},
    }  # fmt: skip
    assert call("prune").stdout == "logs: 1.0M removed\nhistory: 0B removed\n"
    assert json.loads(call("prune", "--json").stdout) == {
        "schema": 1, "removed": {"logs": 1 << 20, "history": 0},
    }  # fmt: skip


# ---- completion


def completed(line: str) -> list[str]:
    """What bash is offered at the end of a line."""
    words = line.split(" ")
    done = subprocess.run(
        [*COMMAND], capture_output=True, text=True, timeout=LIMIT,
        env=environment({"_PROCORCH_COMPLETE": "bash_complete", "COMP_LINE": line,
                         "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}),
    )  # fmt: skip
    assert done.stderr == ""
    return [each.partition(",")[2] for each in done.stdout.split()]


def test_names_and_groups_are_completed(daemon: FakeCore) -> None:
    assert completed("procorch restart ") == ["solver", "critic", "index", "lint", "workers:*"]
    assert completed("procorch restart solver i") == ["index"]
    assert completed("procorch describe so") == ["solver"]
    assert completed("procorch scale so") == ["solver="]


def test_completion_is_silent_without_a_daemon(tmp_path: Path) -> None:
    assert completed("procorch restart so") == []


def test_completion_does_not_wait_for_a_daemon_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    from procorch.daemon.control.protocol import SOCKET

    (tmp_path / ".procorch").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path / ".procorch")
        listening.bind(SOCKET)
        listening.listen()
        os.chmod(SOCKET, 0o600)
        begun = time.monotonic()
        assert completed(f"procorch restart -C {tmp_path} so") == []
        assert time.monotonic() - begun < 10
