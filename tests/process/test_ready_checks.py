"""Programs that are kept alive and ready when a check has passed (N9)."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    AgentOrchestrator,
    AgentStatus,
    Backoff,
    Ready,
    ReadyCheck,
    RequestDone,
    StartError,
    Starting,
    command,
)
from tests.process.scenes import until

Orchestrator = Callable[..., AgentOrchestrator]
AT_ONCE = Backoff(initial=0.0)

TELLING = """
import os, signal, socket, sys
begun, go = sys.argv[1:3]
def tell(text):
    with open(begun, "w") as file:
        file.write(text + chr(10))
def wait():
    with open(go) as file:
        file.readline()
"""
LISTENING = """
tell(str(os.getpid()))
wait()
with socket.create_server(("127.0.0.1", int(sys.argv[3]))):
    signal.pause()
"""
ANSWERING = """
waited = None
with socket.create_server(("127.0.0.1", int(sys.argv[3]))) as server:
    while True:
        connection, _ = server.accept()
        with connection:
            asked = connection.recv(1000).split(b" ")[:2]
            status = b"204 No Content" if waited else b"503 Not Yet"
            connection.sendall(b"HTTP/1.1 " + status + b"\\r\\nContent-Length: 0\\r\\n\\r\\n")
        if waited is None:
            tell(b" ".join(asked).decode())
            wait()
            waited = True
"""
WRITING = """
fd = int(sys.argv[3])
os.write(fd, b"port 70")
tell("begun")
wait()
os.write(fd, b"01 is open\\r\\nmore\\n")
signal.pause()
"""


class Told:
    """What a program tells its test, and where it waits for it."""

    def __init__(self, folder: Path) -> None:
        self.begun, self.go = folder / "begun", folder / "go"
        os.mkfifo(self.begun)
        os.mkfifo(self.go)

    def command(self, script: str, *args: object, ready: ReadyCheck) -> Any:
        words = [sys.executable, "-S", "-c", TELLING + script, self.begun, self.go, *args]
        return command(list(map(str, words)), ready=ready)

    def line(self) -> str:
        with self.begun.open() as file:
            return file.readline().strip()

    def let_go(self) -> None:
        with self.go.open("w") as file:
            file.write("\n")


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
        return number


def test_a_program_is_ready_when_its_port_is_open_in_every_generation(
    orchestrator: Orchestrator, told: Told, port: int
) -> None:
    orch = orchestrator()
    run = told.command(LISTENING, port, ready=ReadyCheck(port=port))
    orch.add_service("server", run, backoff=AT_ONCE)
    stream = orch.monitor("server")
    handle = orch.spawn("server", wait=False)
    for _ in range(2):
        program = int(told.line())
        assert handle.info().state == "STARTING"
        told.let_go()
        seen = until(stream, Ready, "server")
        assert sum(isinstance(each, Starting) for each in seen) == 1
        with socket.create_connection(("127.0.0.1", port)):
            pass
        os.kill(program, signal.SIGKILL)


def test_a_program_is_ready_when_its_url_answers_without_an_error(
    orchestrator: Orchestrator, told: Told, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")  # is not for this
    orch = orchestrator()
    check = ReadyCheck(http=f"http://127.0.0.1:{port}/health?deep=1")
    orch.add_service("server", told.command(ANSWERING, port, ready=check))
    stream = orch.monitor("server")
    handle = orch.spawn("server", wait=False)
    assert told.line() == "GET /health?deep=1", "and this was answered with 503"
    assert handle.info().state == "STARTING"
    told.let_go()
    until(stream, Ready, "server")
    assert handle.status() is AgentStatus.RUNNING


@pytest.mark.parametrize("fd", [1, 2])
def test_a_program_is_ready_when_a_whole_line_matches(
    orchestrator: Orchestrator, told: Told, tmp_path: Path, fd: int
) -> None:
    log = tmp_path / "log"
    orch = orchestrator()
    check = ReadyCheck(line=r"^port \d+ is open$")
    orch.add_service("server", told.command(WRITING, fd, ready=check), output=log)
    stream = orch.monitor("server")
    handle = orch.spawn("server", wait=False)
    told.line()
    assert handle.info().state == "STARTING"
    told.let_go()
    until(stream, Ready, "server")
    handle.stop()
    assert log.read_bytes() == b"port 7001 is open\r\nmore\n", "what it writes goes where it went"


def test_a_program_is_ready_after_a_time(orchestrator: Orchestrator) -> None:
    orch = orchestrator()
    orch.add_service("server", command(["sleep", "60"], ready=ReadyCheck(after="120ms")))
    stream = orch.monitor("server")
    orch.spawn("server")
    seen = until(stream, Ready, "server")
    (starting,) = (each for each in seen if isinstance(each, Starting))
    assert seen[-1].time - starting.time >= 0.12


@pytest.mark.parametrize("code", [0, 4])
def test_a_program_that_ends_before_it_is_ready_has_not_started(
    orchestrator: Orchestrator, code: int
) -> None:
    orch = orchestrator()
    run = command(["sh", "-c", f"echo no room >&2; exit {code}"], ready=ReadyCheck(line="up"))
    orch.add_service("server", run, max_restarts=0)
    stream = orch.monitor("server")
    with pytest.raises(StartError) as caught:
        orch.spawn("server")
    assert f"exit code {code} before it was ready (a line of its output" in str(caught.value)
    assert caught.value.phase == "run"
    orch.close()
    assert not any(isinstance(each, Ready | RequestDone) for each in stream)


def test_a_program_that_a_signal_ends_before_it_is_ready_has_not_started(
    orchestrator: Orchestrator,
) -> None:
    orch = orchestrator()
    run = command(["sh", "-c", "kill -USR1 $$"], ready=ReadyCheck(after=60))
    orch.add_service("server", run, max_restarts=0)
    with pytest.raises(StartError, match="SIGUSR1"):
        orch.spawn("server")


@pytest.mark.parametrize("method", ["zygote", "spawn"])
def test_a_program_that_is_not_ready_in_time_is_ended_in_order(
    orchestrator: Orchestrator, tmp_path: Path, port: int, method: str
) -> None:
    orch = orchestrator(start_method=method)
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    script = f"trap 'echo > {ended}; exit' TERM; echo $$ > {begun}; sleep 60 & wait"
    run = command(["sh", "-c", script], ready=ReadyCheck(port=port))
    orch.add_service("server", run, start_timeout=2.5, max_restarts=0)
    with pytest.raises(StartError, match=r"was not ready within 2.5 s"):
        orch.spawn("server")
    orch.close()
    if begun.exists():  # a slow machine may not get there
        assert ended.exists(), "it was asked to end before it was killed"
        assert not Path(f"/proc/{begun.read_text().strip()}").exists()


def test_a_program_can_be_stopped_before_it_is_ready(
    orchestrator: Orchestrator, told: Told, port: int
) -> None:
    orch = orchestrator()
    orch.add_service("server", told.command(LISTENING, port, ready=ReadyCheck(port=port)))
    handle = orch.spawn("server", wait=False)
    told.line()
    handle.stop()
    assert handle.status() is AgentStatus.STOPPED
