"""Agents that fail, wait in vain or crash again and again: what the daemon says and does."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import procorch
from procorch import DaemonClient
from tests.daemon.running import running

AGENTS = """
import time

def echo():
    return lambda messages: "yes"

def crash():
    raise RuntimeError("it broke")

def over():
    return None

def refuses():
    raise ConnectionError("the database is down")
"""

IN_VAIN = """
[agents.broken]
factory = "agents:missing"
max_restarts = 0

[agents.waits]
factory = "agents:echo"
after = { broken = "ready" }

[agents.waits.agents.below]
factory = "agents:echo"
"""

OTHERS = """
[agents.parent]
factory = "agents:echo"

[agents.parent.agents.child]
factory = "agents:echo"
link = "stop"

[agents.parent.agents.refuses]
factory = "agents:refuses"
max_restarts = 0
revive = "0.1s"

[services.over]
run = "agents:over"
restart = "transient"

[agents.later]
factory = "agents:echo"
after = { over = "ready" }
"""

CRASHES = """
[services.crash]
run = "agents:crash"
max_restarts = 1
backoff = { initial = "0s" }

[services.often]
run = "agents:crash"
max_restarts = 5
backoff = { initial = "1h", cap = "1h", jitter = false }
"""


def row(client: DaemonClient, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client.status(name)["agents"][0]
    return found


def test_who_waits_in_vain_is_told_at_once_what_is_in_the_way(tmp_path: Path) -> None:
    with running(tmp_path, IN_VAIN + OTHERS, agents=AGENTS) as daemon:
        client = daemon.listening()
        assert client.wait_ready("child", "later", timeout=30)["ready"]  # "over" has completed
        assert client.start("broken")[0]["result"] == "failed"
        (below,) = client.start("below")  # without a limit
        assert below["error"] == (
            "it waits until its parent waits is ready, and broken has failed: "
            "run procorch start broken"
        )
        assert row(client, "waits")["detail"] == "until broken is ready; broken has failed"

        client.stop("parent")
        assert row(client, "child")["state"] == "WAITING"  # it is linked to its parent
        (child,) = client.start("child")
        assert "parent is stopped: run procorch start parent" in child["error"]
        client.scale({"parent": 0})
        (parent,) = client.start("parent")
        assert parent["error"] == "it is scaled to 0: run procorch scale parent=1"

        # An attempt that is due, and waits for the parent, costs nothing.
        time.sleep(0.2)
        before = client.status()["daemon"]["cpu"]
        time.sleep(0.5)
        assert client.status()["daemon"]["cpu"] - before < 0.25

        assert client.scale({"parent": 1})[0]["error"] is None
        assert client.start("child")[0]["result"] in ("started", "running")


def test_failures_are_told_by_their_cause_and_their_place(tmp_path: Path) -> None:
    with running(tmp_path, CRASHES, agents=AGENTS) as daemon:
        client = daemon.listening()
        events = client.events("crash", follow=True, last=100)
        assert any(event["type"] == "Stopped" for event in events)
        while (failed := row(client, "crash"))["state"] != "FAILED":
            pass
        assert "RuntimeError: it broke, at agents.py:8 in crash" in failed["detail"]
        assert "supervisor" not in failed["detail"]
        assert failed["last_exit"] == "RuntimeError at agents.py:8 in crash"

        delays = client.events("often", follow=True, last=100)
        assert any(event["type"] == "BackingOff" for event in delays)
        count, wait, place = row(client, "often")["detail"].split(", ")
        assert (count, place) == ("2/5", "RuntimeError at agents.py:8 in crash")
        assert wait.startswith("next in 3")


def test_up_in_the_background_ends_when_the_rest_waits_in_vain(tmp_path: Path) -> None:
    with running(tmp_path, IN_VAIN, "-d", agents=AGENTS) as command:
        told = "".join(command.lines())
        assert command.wait() == 1
        assert "below: it does not start, because broken has failed" in told
        assert procorch.connect(tmp_path).status()["daemon"]["state"] == "running"
        subprocess.run(
            [sys.executable, "-m", "procorch", "down"], cwd=tmp_path, check=True, timeout=30
        )
