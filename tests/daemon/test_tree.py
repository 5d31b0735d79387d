"""Start order, failures and their consequences in a running daemon (design 8.1)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import procorch
from tests.daemon.running import running

AGENTS = '''
import os, pathlib

def index():
    return None

def build():
    pathlib.Path("built").write_text("x")

def solver():
    built = pathlib.Path("built").exists()
    return lambda messages: f"built: {built}"

def critic():
    return lambda messages: "hm"

def once():
    """Fails at its first start, and works afterwards."""
    marker = pathlib.Path("tried")
    if not marker.exists():
        marker.write_text("x")
        raise ConnectionError("the database is not up yet")
    return lambda messages: "up"

def broken():
    return lambda messages: os._exit(9)

def tell(failure):
    with open("failures", "w") as file:
        file.write(f"{failure['agent']}: {failure['error']}")
'''


SLOW = """
import pathlib

def slow():
    def handle(messages):
        pathlib.Path("begun").write_text("x")
        pathlib.Path("go").read_text()
        return "done"
    return handle
"""


def test_agents_start_in_their_order_and_children_with_their_parent(tmp_path: Path) -> None:
    toml = """
[agents.solver]
factory = "agents:solver"
after = { build = "completed" }
group = "web"

[agents.solver.agents.critic]
factory = "agents:critic"

[services.build]
run = "agents:build"
restart = "transient"
"""
    with running(tmp_path, toml, agents=AGENTS) as daemon:
        client = daemon.connect()
        assert client.handle("solver").send_message("?").text == "built: True"
        assert client.handle("critic").send_message("?").text == "hm"
        rows = {row["name"]: row for row in client.status()["agents"]}
        assert rows["build"]["state"] == "COMPLETED"
        assert rows["critic"]["parent"] == "solver"
        assert [row["name"] for row in client.status("web:*")["agents"]] == ["solver"]


def test_a_start_that_fails_for_a_while_is_tried_again(tmp_path: Path) -> None:
    toml = '[agents.once]\nfactory = "agents:once"\n'
    with running(tmp_path, toml, agents=AGENTS) as daemon:
        client = daemon.listening()
        assert client.wait_ready(timeout=30)["ready"]
        assert client.handle("once").send_message("?").text == "up"
        assert "not up yet" in client.describe("once")["exits"][0]["reason"]
        (told,) = [each["text"] for each in client.logs("daemon") if "not up yet" in each["text"]]
        assert told.startswith("warning: agent 'once' failed to start")
        assert "; the agent is tried again in " in told


def test_a_failure_calls_the_hook_and_the_agent_is_revived(tmp_path: Path) -> None:
    toml = """
[agents.broken]
factory = "agents:broken"
max_restarts = 0
charge_requests = false
on_failure = "agents:tell"
revive = "0.1s"
"""
    os.mkfifo(tmp_path / "failures")
    with running(tmp_path, toml, agents=AGENTS) as daemon:
        client = daemon.connect()
        events = client.events("broken", follow=True, last=0)
        with pytest.raises(procorch.AgentCrashed, match="exit code 9"):
            client.handle("broken").send_message("?")
        assert "broken: " in (tmp_path / "failures").read_text()
        assert any(event["type"] == "Ready" for event in events)


def test_a_restart_waits_for_a_request_no_longer_than_it_was_told(tmp_path: Path) -> None:
    toml = '[agents.slow]\nfactory = "agents:slow"\n'
    for name in ("begun", "go"):
        os.mkfifo(tmp_path / name)
    with running(tmp_path, toml, agents=SLOW) as daemon:
        client = daemon.connect()
        answer = client.handle("slow").submit("?")
        (tmp_path / "begun").read_text()
        (row,) = client.restart("slow", timeout=0.1)
        assert (row["name"], row["result"]) == ("slow", "failed")
        assert "had no new process in time" in row["error"]
        (tmp_path / "go").write_text("x")
        assert answer.result(30).text == "done"


def test_a_program_is_ready_when_it_says_so_and_comes_back_when_it_is_killed(
    tmp_path: Path,
) -> None:
    toml = """
[services.program]
command = ["sh", "-c", "echo up; exec sleep 600"]
ready = { line = "up" }

[agents.words]
command = ["echo", "{first}", "and", "{second}"]
"""
    with running(tmp_path, toml) as daemon:
        client = daemon.connect()
        answer = client.handle("words").submit({"first": "one", "second": "two"})
        assert answer.result(30).text.strip() == "one and two"
        events = client.events("program", follow=True, last=0)
        (sleeper,) = [each for each in daemon.descendants() if each.name() == "sleep"]
        sleeper.send_signal(signal.SIGKILL)
        assert any(event["type"] == "Ready" for event in events)
        (line,) = client.logs("program", last=1)
        assert line["text"] == "up"
