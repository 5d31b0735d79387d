"""Kills of a daemon at random moments, and what must hold after each of them."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from procorch import DaemonClient
from procorch.daemon.errors import DaemonError
from procorch.errors import AgentError
from tests.daemon.running import RunningDaemon, running

TOML = """
[agents.echo]
factory = "agents:echo"
instances = 2

[services.consumer]
run = "agents:consumer"
"""


@dataclass
class Report:
    """What many kills have found.

    Args:
        wrong: what does not hold.
        starts: seconds from the start of a daemon until all agents were ready.
    """

    wrong: list[str] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)


def kill_often(folder: Path, count: int, seed: int, *, at_work: float = 0.5) -> Report:
    """Kill a daemon again and again, and start the next one in the same folder at once.

    The last kill is always followed by a daemon that has to work.

    Args:
        count: kills.
        seed: of the moments.
        at_work: the share of kills that come while it works, under load with reloads; the others
            come while it starts.
    """
    chance = random.Random(seed)
    report = Report()
    for number in range(count):
        before = len(report.wrong)
        with running(folder, TOML) as daemon:
            if chance.random() < at_work:
                _work(daemon, report, chance.uniform(0, 0.3))
            else:
                time.sleep(chance.uniform(0, 0.8))
            daemon.process.send_signal(signal.SIGKILL)
            daemon.process.wait()
            alive = psutil.wait_procs(daemon.alive(), timeout=10)[1]
        if alive:
            report.wrong.append(f"{len(alive)} processes survive: {alive}")
        report.wrong += damaged(folder / ".procorch")
        report.wrong[before:] = [f"kill {number}: {each}" for each in report.wrong[before:]]
    with running(folder, TOML) as daemon:
        _work(daemon, report, 0)
        if daemon.end() != 0:
            report.wrong.append(
                f"the daemon after all kills ended with {daemon.process.returncode}"
            )
    return report


def _work(daemon: RunningDaemon, report: Report, seconds: float) -> None:
    """Have an answer of a daemon that was just started, then load for some time."""
    begun = time.monotonic()
    client = daemon.connect()
    report.starts.append(time.monotonic() - begun)
    answer = client.handle("echo").send_message("hello").text
    if answer != "hello!":
        report.wrong.append(f"another answer: {answer!r}")
    for _ in range(2):
        threading.Thread(target=_load, args=(client,), daemon=True).start()
    time.sleep(seconds)


def _load(client: DaemonClient) -> None:
    """Requests and reloads, until the daemon is gone."""
    with contextlib.suppress(DaemonError, OSError):
        while client.ping():
            with contextlib.suppress(AgentError, DaemonError):  # another reload is under way
                client.handle("echo").send_message("load")
                client.reload("echo")


def damaged(folder: Path) -> list[str]:
    """What is damaged in the folder of a daemon that does not run."""
    found = [f"{path.name} was set aside" for path in folder.rglob("*damaged*")]
    for path in folder.glob("logs/*.log"):
        for line in path.read_bytes().split(b"\n")[:-1]:  # the last line may be a part
            try:
                json.loads(line)
            except ValueError:
                found.append(f"{path.name} has a broken line: {line[:200]!r}")
    copy = folder.parent / "copy"  # looking at it would repair it
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in folder.glob("history.sqlite*"):
        shutil.copy(path, copy)
    with contextlib.closing(sqlite3.connect(copy / "history.sqlite")) as history:
        (answer,) = history.execute("PRAGMA integrity_check").fetchone()
    return found if answer == "ok" else [*found, f"history.sqlite: {answer}"]
