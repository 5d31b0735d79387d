"""The life of a daemon, with real processes and signals (design 8.3)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import procorch
from procorch import DaemonClient
from tests.daemon.running import RunningDaemon, running

ECHO = """
[agents.echo]
factory = "agents:echo"
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    toml = f"""
{ECHO}
instances = 2

[services.consumer]
run = "agents:consumer"
after = {{ echo = "ready" }}
"""
    with running(tmp_path_factory.mktemp("daemon"), toml) as daemon:
        daemon.connect()
        yield daemon


@pytest.fixture
def client(daemon: RunningDaemon) -> DaemonClient:
    return procorch.connect(daemon.folder)


def test_agents_answer_and_services_run(client: DaemonClient) -> None:
    assert client.handle("echo").send_message("hello").text == "hello!"
    with pytest.raises(procorch.TakesNoRequests, match="'consumer' is a service"):
        client.handle("consumer").send_message("hello")
    rows = {row["name"]: row for row in client.status()["agents"]}
    assert rows["consumer"]["state"] == "RUNNING"
    assert [each["state"] for each in rows["echo"]["instances"]] == ["READY", "READY"]


def test_a_request_that_raises_fails_alone(client: DaemonClient) -> None:
    with pytest.raises(procorch.AgentFailure, match="no such thing"):
        client.handle("echo").send_message("raise")
    assert client.handle("echo").send_message("on").text == "on!"


def test_a_crash_fails_its_request_by_name_and_the_agent_comes_back(tmp_path: Path) -> None:
    with running(tmp_path, ECHO) as daemon:
        client = daemon.connect()
        with pytest.raises(procorch.AgentCrashed, match="exit code 7"):
            client.handle("echo").send_message("die")
        assert client.handle("echo").send_message("on").text == "on!"
        (exit,) = client.describe("echo")["exits"]
        assert "exit code 7" in exit["reason"]


def test_all_that_the_daemon_makes_is_for_its_user_alone(
    daemon: RunningDaemon, client: DaemonClient
) -> None:
    client.handle("echo").send_message("for the log")
    for path in [daemon.folder / ".procorch", *(daemon.folder / ".procorch").rglob("*")]:
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_second_daemon_names_the_first_and_touches_nothing(daemon: RunningDaemon) -> None:
    before = (daemon.folder / ".procorch" / "lock").read_text()
    second = subprocess.run(
        [sys.executable, "-m", "procorch", "up"],
        cwd=daemon.folder, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert f"pid {daemon.process.pid}" in second.stderr
    assert "procorch.toml" in second.stderr
    assert (daemon.folder / ".procorch" / "lock").read_text() == before


def test_the_daemon_imports_no_code_of_the_user(daemon: RunningDaemon) -> None:
    maps = psutil.Process(daemon.process.pid).open_files()
    assert not any(each.path.endswith("agents.py") for each in maps)


def test_a_killed_daemon_leaves_no_process_and_its_folder_serves_the_next(tmp_path: Path) -> None:
    with running(tmp_path, ECHO) as first:
        first.connect().handle("echo").send_message("hello")
        below = first.descendants()
        assert below
        first.end(signal.SIGKILL)
        assert psutil.wait_procs(below, timeout=10)[1] == []
    with running(tmp_path, ECHO) as second:
        assert second.connect().handle("echo").send_message("hello").text == "hello!"
        assert second.end(signal.SIGTERM) == 0
    assert not (tmp_path / ".procorch" / "control.sock").exists()


def test_the_end_finishes_what_runs(tmp_path: Path) -> None:
    agents = """
import os

def slow():
    def handle(messages):
        with open("begun", "w") as begun:
            begun.write("x")
        with open("go") as go:
            go.read()
        return "finished"
    return handle
"""
    os.mkfifo(tmp_path / "begun")
    os.mkfifo(tmp_path / "go")
    with running(tmp_path, '[agents.slow]\nfactory = "agents:slow"\n', agents=agents) as daemon:
        client = daemon.connect()
        answer = client.handle("slow").submit("work")
        (tmp_path / "begun").read_text()
        daemon.process.send_signal(signal.SIGTERM)
        while client.status()["daemon"]["state"] != "draining":
            os.sched_yield()
        (tmp_path / "go").write_text("x")
        assert answer.result(30).text == "finished"
        assert daemon.wait() == 0


def test_what_an_operator_stopped_stays_stopped_until_a_reload(tmp_path: Path) -> None:
    with running(tmp_path, ECHO) as daemon:
        client = daemon.connect()
        client.stop("echo")
        assert daemon.end() == 0
    with running(tmp_path, ECHO) as daemon:
        client = daemon.connect()
        (row,) = client.status()["agents"]
        assert (row["state"], row["drift"]) == ("STOPPED", ["stopped by hand"])
        with pytest.raises(procorch.AgentStopped, match="'echo' does not run"):
            client.handle("echo").send_message("hello")
        undone = {"name": "echo", "change": "undone", "keys": ["stopped by hand"]}
        assert client.reload(dry_run=True)["changes"] == [undone]
        assert client.reload()["changes"] == [undone]
        assert client.wait_ready("echo", timeout=30)["ready"]
        assert client.status()["agents"][0]["drift"] == []


def test_an_agent_that_does_not_start_is_named_and_the_others_serve(tmp_path: Path) -> None:
    toml = ECHO + '[agents.broken]\nfactory = "agents:missing"\n'
    with running(tmp_path, toml) as daemon:
        client = daemon.listening()
        assert client.wait_ready("echo", timeout=30)["ready"]
        rows = {row["name"]: row for row in client.start("broken")}
        assert "missing" in rows["broken"]["error"]
        assert client.handle("echo").send_message("hello").text == "hello!"


def test_a_daemon_in_the_background_is_ready_when_the_command_returns(tmp_path: Path) -> None:
    with running(tmp_path, ECHO, "-d") as command:
        assert command.wait() == 0
        client = procorch.connect(tmp_path)
        pid = client.status()["daemon"]["pid"]
        assert client.handle("echo").send_message("hello").text == "hello!"
        client.shutdown()
        psutil.wait_procs([psutil.Process(pid)], timeout=30)
        assert not psutil.pid_exists(pid)


def test_the_service_manager_is_told_in_order(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(30)
        env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        with running(tmp_path, ECHO, env=env) as daemon:
            heard: list[str] = []

            def until(word: str) -> None:
                while not heard or word not in heard[-1]:
                    heard.append(manager.recv(4096).decode())

            until("READY=1")
            until("WATCHDOG=1")
            daemon.process.send_signal(signal.SIGHUP)
            until("RELOADING=1")
            assert "MONOTONIC_USEC=" in heard[-1]
            until("READY=1")
            daemon.process.send_signal(signal.SIGTERM)
            until("STOPPING=1")
            assert daemon.wait() == 0


HANGS = """
import signal, threading
from procorch.cli.main import main
from procorch.daemon import core

cores, go_on = [], threading.Event()
begin = core.Core.begin

def begin_and_note(self):
    begin(self)
    cores.append(self)

def hang(*args):
    cores[0].orchestrator.running_monitor().post(go_on.wait)

core.Core.begin = begin_and_note
signal.signal(signal.SIGUSR1, hang)
signal.signal(signal.SIGUSR2, lambda *args: go_on.set())
main()
"""
"""A daemon whose monitor hangs from SIGUSR1 to SIGUSR2."""


def test_the_watchdog_gets_no_sign_of_life_while_the_monitor_hangs(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(30)
        env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"}
        with running(tmp_path, "", env=env, program=("-c", HANGS)) as daemon:

            def until(word: str) -> None:
                while word not in manager.recv(4096).decode():
                    pass

            until("READY=1")
            until("WATCHDOG=1")
            daemon.process.send_signal(signal.SIGUSR1)
            until("STATUS=the monitor of the agents does not answer")
            manager.settimeout(0.5)  # more than two signs of life are apart
            with contextlib.suppress(TimeoutError):
                while True:
                    until("WATCHDOG=1")  # those from before it hung
            manager.settimeout(30)
            daemon.process.send_signal(signal.SIGUSR2)
            until("WATCHDOG=1")
            assert daemon.end() == 0


def test_it_ends_by_itself_when_an_agent_has_failed(tmp_path: Path) -> None:
    toml = '[daemon]\nexit_when = "any_failed"\n[agents.broken]\nfactory = "agents:missing"\n'
    with running(tmp_path, toml) as daemon:
        assert daemon.wait() == 1


def test_an_answer_of_a_class_of_the_user_is_plain_data(tmp_path: Path) -> None:
    agents = """
import dataclasses

@dataclasses.dataclass
class Point:
    x: int

def point():
    return lambda messages: Point(3)
"""
    with running(tmp_path, '[agents.point]\nfactory = "agents:point"\n', agents=agents) as daemon:
        answer = daemon.connect().handle("point").send_message("where")
        assert json.dumps(answer.output) == '{"x": 3}'


def test_a_daemon_without_agents_is_ready_at_once(tmp_path: Path) -> None:
    with running(tmp_path, "", "-d") as command:
        assert "all agents are ready" in "".join(command.lines())
        client = procorch.connect(tmp_path)
        pid = client.status()["daemon"]["pid"]
        client.shutdown()
        psutil.wait_procs([psutil.Process(pid)], timeout=30)
        assert not psutil.pid_exists(pid)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / ".procorch").mkdir(0o700)
    (tmp_path / ".procorch" / "up.err").mkdir()
    with running(tmp_path, ECHO, "-d") as command:
        told = "".join(command.lines())
        assert command.wait() == 2
    assert told == f"Error: cannot write {tmp_path}/.procorch/up.err: Is a directory\n"


def test_a_file_in_the_place_of_its_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / ".procorch").write_text("")
    with running(tmp_path, ECHO) as daemon:
        told = "".join(daemon.lines())
        assert daemon.wait() == 2
    assert told == f"Error: {tmp_path}/.procorch must be a folder, and no file\n"
