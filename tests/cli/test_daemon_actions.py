"""What is done to agents and the daemon: `start` and its like, `scale`, `reload`, `down`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from procorch.daemon.lock import Lock
from tests.cli import fake_core
from tests.cli.conftest import Ended
from tests.cli.fake_core import FakeCore

Call = Callable[..., Ended]

DONE = {
    "start": "started", "stop": "stopped", "restart": "restarted", "pause": "paused",
    "resume": "resumed", "reset": "reset",
}  # fmt: skip


@pytest.mark.parametrize(("verb", "did"), DONE.items())
def test_what_became_of_each_agent_is_printed(
    verb: str, did: str, call: Call, daemon: FakeCore
) -> None:
    assert call(verb, "workers:*") == Ended(0, f"solver  {did}\ncritic  {did}\n", "")
    assert daemon.calls[0][:2] == (did, ["solver", "critic"])
    daemon.results = {"critic": "failed"}
    ended = call(verb, "workers:*")
    assert ended == Ended(1, f"solver  {did}\ncritic  failed\n", "critic: it has\nno luck\n")
    assert json.loads(call(verb, "critic", "--json").stdout) == {
        "schema": 1, "agents": [{"name": "critic", "result": "failed", "error": "it has\nno luck"}],
    }  # fmt: skip


@pytest.mark.parametrize("verb", DONE)
def test_nothing_is_done_to_all_agents_by_leaving_out_their_names(
    verb: str, call: Call, daemon: FakeCore
) -> None:
    ended = call(verb)
    assert (ended.code, daemon.calls) == (2, [])
    assert "Missing argument 'NAME...'" in ended.stderr


def test_the_time_that_it_may_take_is_passed_on(call: Call, daemon: FakeCore) -> None:
    call("start", "solver", "--timeout", "1m30s")
    assert daemon.calls == [("started", ["solver"], 90.0)]


def test_scale_takes_numbers_by_name(call: Call, daemon: FakeCore) -> None:
    ended = call("scale", "solver=3", "lint=0", "--json")
    assert daemon.calls == [("scaled", ["solver", "lint"], [3, 0], None)]
    assert json.loads(ended.stdout)["agents"][1] == {
        "name": "lint", "result": "scaled", "error": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong", ["solver", "=2", "solver=", "solver=-1", "solver=two", "solver=²"]
)
def test_what_is_no_number_by_name_is_refused(wrong: str, call: Call, daemon: FakeCore) -> None:
    ended = call("scale", wrong)
    assert (ended.code, daemon.calls) == (2, [])
    assert f"'{wrong}' is not NAME=N, such as solver=4" in ended.stderr


def test_a_name_is_scaled_once(call: Call, daemon: FakeCore) -> None:
    assert "'lint' is given twice" in call("scale", "lint=1", "lint=2").stderr


# ---- releases

CHANGES = [
    {"name": "solver", "change": "rolling", "keys": ["factory", "code"]},
    {"name": "index", "change": "live", "keys": ["request_timeout"]},
    {"name": "new", "change": "added", "keys": []},
    {"name": "lint", "change": "removed", "keys": []},
]
LINES = """\
~ solver  processes replaced one by one: factory, code
~ index   applied to what runs: request_timeout
+ new     added
- lint    removed
"""


def test_a_reload_prints_what_it_has_changed(call: Call, daemon: FakeCore) -> None:
    daemon.changes = CHANGES
    assert call("reload") == Ended(0, LINES, "release 3 serves\n")
    assert call("reload", "--dry-run") == Ended(0, LINES, "nothing was changed (--dry-run)\n")
    assert [each[2] for each in daemon.calls] == [False, True]
    assert json.loads(call("reload", "--json").stdout) == {
        "schema": 1, "release": 3, "changes": CHANGES, "text": [], "applied": True,
    }  # fmt: skip


def test_a_reload_without_a_difference_says_so(call: Call, daemon: FakeCore) -> None:
    said = "nothing differs from what runs; release 2 serves on\n"
    assert call("reload") == Ended(0, "", said)


def test_a_reload_that_failed_leaves_the_release_before(call: Call, daemon: FakeCore) -> None:
    daemon.error = fake_core.failure()
    assert call("reload") == Ended(1, "", "Error: agent 'solver' could not be reloaded\n")


def test_a_rollback_names_what_it_has_replaced(call: Call, daemon: FakeCore) -> None:
    said = "release 4 serves again\n"
    assert call("rollback") == Ended(0, "solver\n", said)
    assert json.loads(call("rollback", "--json").stdout) == {
        "schema": 1, "names": ["solver"], "release": 4,
    }  # fmt: skip
    daemon.error = fake_core.refused()
    assert call("rollback") == Ended(1, "", "Error: another reload is under way\n")


# ---- wait, cancel, down


def test_waiting_ends_when_all_are_ready(call: Call, daemon: FakeCore) -> None:
    assert call("wait", "--ready") == Ended(0, "", "")
    assert json.loads(call("wait", "--ready", "--json").stdout) == {
        "schema": 1, "ready": True, "waiting": [],
    }  # fmt: skip


def test_waiting_in_vain_names_what_is_missing(call: Call, daemon: FakeCore) -> None:
    daemon.waiting = ["index", "lint"]
    assert call("wait", "--ready", "--timeout", "20ms") == Ended(6, "", "not ready: index, lint\n")
    assert call("wait", "--ready", "solver", "--timeout", "20ms").code == 0


def test_it_has_to_be_said_what_to_wait_for(call: Call) -> None:
    ended = call("wait")
    assert (ended.code, "say what to wait for: --ready" in ended.stderr) == (2, True)


def test_a_request_is_cancelled_by_its_number(call: Call, daemon: FakeCore) -> None:
    assert call("cancel", "17") == Ended(0, "", "request 17 is being cancelled\n")
    assert call("cancel", "18").code == 4
    ended = call("cancel", "18", "--json")
    assert (ended.code, json.loads(ended.stdout)) == (
        4,
        {"schema": 1, "id": 18, "cancelled": False},
    )


def test_down_waits_for_the_end_of_the_daemon(call: Call, daemon: FakeCore) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    daemon.daemon["pid"] = process.pid
    daemon.on_shutdown = process.stdin.close
    ended = call("down", "--timeout", "3s")
    assert ended == Ended(0, "", f"the daemon, pid {process.pid}, has ended\n")
    assert daemon.calls[-1] == ("shutdown", 3.0)
    assert process.wait(0) is not None
    assert json.loads(call("down", "--json").stdout) == {
        "schema": 1, "pid": process.pid, "ended": True,
    }  # fmt: skip


def test_down_of_a_daemon_in_a_container_waits_for_its_lock(
    call: Call, daemon: FakeCore, tmp_path: Path
) -> None:
    lock = Lock(tmp_path / ".procorch", {"pid": 1})
    daemon.daemon["pid"] = 1  # a process here, which is another one
    daemon.on_shutdown = lock.release
    assert call("down", "--timeout", "3s") == Ended(0, "", "the daemon, pid 1, has ended\n")


# ---- errors


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",), ("top",), ("describe", "a"), ("start", "a"), ("scale", "a=1"), ("reload",),
        ("rollback",), ("wait", "--ready"), ("send", "a", "b"), ("cancel", "1"), ("stack", "a"),
        ("logs",), ("logs", "--rotate"), ("events",), ("disk",), ("prune",), ("down",),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_without_a_daemon_the_exit_code_is_3(
    arguments: tuple[str, ...], call: Call, tmp_path: Path
) -> None:
    (tmp_path / "procorch.toml").write_text("")
    ended = call(*arguments)
    assert (ended.code, ended.stdout) == (3, "")
    assert ended.stderr.startswith("Error: no daemon runs in ")


@pytest.mark.parametrize("arguments", [("status", "solvr"), ("stop", "solvr"), ("logs", "solvr")])
def test_an_unknown_name_is_4_and_the_nearest_one_is_named(
    arguments: tuple[str, ...], call: Call, daemon: FakeCore
) -> None:
    ended = call(*arguments)
    assert (ended.code, ended.stdout) == (4, "")
    assert "'solvr'; did you mean 'solver'?" in ended.stderr


def test_the_daemon_of_another_folder_is_named(
    call: Call, daemon: FakeCore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "inside"
    other.mkdir()
    monkeypatch.chdir(other)
    assert call("wait", "--ready").code == 0, "it is found from a folder below"
    monkeypatch.chdir("/")
    assert call("wait", "--ready").code == 3
    assert call("wait", "--ready", "-C", str(tmp_path)).code == 0
    monkeypatch.setenv("PROCORCH_DIR", str(tmp_path))
    assert call("wait", "--ready").code == 0
    monkeypatch.setenv("PROCORCH_WAIT_DIR", "/nowhere")
    assert call("wait", "--ready").code == 3, "the variable of the verb wins"
