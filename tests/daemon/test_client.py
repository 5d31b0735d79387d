"""Programs that talk to a daemon: sync clients, over a real socket."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import procorch
from procorch import AgentCrashed, RequestCancelled, Usage
from procorch.daemon.client import dialog
from procorch.daemon.client.client import DaemonClient, connect
from procorch.daemon.client.places import daemon_folder
from procorch.daemon.client.remote import failure_of
from procorch.daemon.control.connection import Limits
from procorch.daemon.errors import (
    BadRequest,
    ConfigErrors,
    DaemonBusy,
    DaemonEnding,
    DaemonError,
    DaemonUnresponsive,
    NoDaemon,
    UnknownAgent,
)
from tests.daemon.conftest import Serve
from tests.daemon.fake_core import FakeCore


@pytest.fixture
def client(serve: Serve, folder: Path) -> Iterator[DaemonClient]:
    serve()
    with connect(folder) as client:
        yield client


# Verbs.


def test_a_client_says_who_answers(client: DaemonClient) -> None:
    assert client.ping() == {"version": procorch.__version__, "pid": os.getpid()}


def test_each_verb_reaches_the_daemon_and_its_answer_comes_back(
    client: DaemonClient, core: FakeCore
) -> None:
    assert list(client.names()) == ["solver", "web-1", "web-2"]
    assert len(client.status("web-*")["agents"]) == 2
    assert client.describe("solver") == {"name": "solver"}
    assert client.start("solver", timeout="5s")[0]["result"] == "start"
    assert client.stop("solver")[0]["result"] == "stop"
    core.held.set()
    assert client.restart("web:*", timeout=3)[1]["name"] == "web-2"
    client.reset("solver")
    client.pause()
    client.resume("solver")
    client.scale({"web-*": 3}, timeout=1)
    assert client.wait_ready(timeout=1) == {"ready": True, "waiting": []}
    assert client.stack("solver")[0]["pid"] == 1
    assert client.prune() == {"logs": 0}
    assert client.cancel(99) is False
    assert client.shutdown(timeout="1m") is None
    assert [called for called in core.called if called[0] != "wait_ready"] == [
        ("status", ["web-1", "web-2"]),
        ("start", ["solver"], 5.0),
        ("stop", ["solver"], None),
        ("restart", ["web-1", "web-2"], 3.0),
        ("reset", ["solver"]),
        ("pause", ["solver", "web-1", "web-2"]),
        ("resume", ["solver"]),
        ("scale", {"web-1": 3, "web-2": 3}, 1.0),
        ("shutdown", [], 60.0),
    ]


def test_a_wait_that_ends_in_vain_says_for_whom(client: DaemonClient) -> None:
    assert client.wait_ready("solver", timeout=0.3) == {"ready": False, "waiting": ["solver"]}


def test_errors_are_of_the_class_that_the_daemon_had(client: DaemonClient) -> None:
    with pytest.raises(UnknownAgent, match="no agent 'slover'; did you mean 'solver'") as unknown:
        client.status("slover")
    assert unknown.value.code == 4
    with pytest.raises(ConfigErrors, match=r"^procorch.toml:3: .*not a number$"):
        client.reload("solver", dry_run=True)
    with pytest.raises(AgentCrashed, match="agent 'solver' crashed: SIGSEGV") as crashed:
        client.rollback()
    assert crashed.value.signal == "SIGSEGV"
    with pytest.raises(DaemonError, match="No space left on device") as full:
        client.rotate()
    assert (full.value.kind, full.value.code) == ("OSError", 1)


def test_nothing_is_sent_that_the_daemon_would_refuse(client: DaemonClient) -> None:
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]
    for message in (object(), "x" * (1 << 20), deep):
        with pytest.raises(BadRequest):
            client.send("solver", message)
    with pytest.raises(TypeError, match="takes text, not dict"):
        client.handle("solver").send_message({})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout"):
        client.start(timeout="soon")


# Requests.


def test_a_handle_gets_results(client: DaemonClient) -> None:
    handle = client.handle("solver")
    result = handle.send_message("hi", timeout="5s")
    assert (result.text, result.output, result.id) == ("solver: hi", "hi", 1)
    assert result.usage == Usage(3, 4)
    assert result.cost == procorch.Cost()
    assert result.metrics is not None
    assert result.metrics.wall == 0.5
    assert handle.send({"a": [1]}).output == {"a": [1]}


def test_a_failed_request_raises_its_error(client: DaemonClient) -> None:
    with pytest.raises(AgentCrashed, match="agent 'solver' crashed: SIGSEGV"):
        client.handle("solver").send_message("crash")
    assert client.send("solver", "crash")["state"] == "failed"
    with pytest.raises(UnknownAgent):
        client.handle("solver2").send_message("hi")


def test_many_requests_are_submitted_and_wait_for_their_turn(client: DaemonClient) -> None:
    handle = client.handle("solver")
    futures = [handle.submit(number) for number in range(100)]
    assert [future.result(30).output for future in futures] == list(range(100))
    with pytest.raises(AgentCrashed):
        handle.submit("crash").result(30)


def test_a_future_that_is_cancelled_cancels_its_request(
    client: DaemonClient, core: FakeCore
) -> None:
    future = client.handle("solver").submit("wait")
    number = core.began.get(timeout=10)
    assert future.cancel()
    assert core.cancelled.get(timeout=10) == number
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(0)


def test_a_stream_gives_pieces_and_the_whole(client: DaemonClient) -> None:
    handle = client.handle("web-1")
    assert list(handle.stream("a b")) == ["web-1:", "a", "b"]
    with handle.stream("a b") as stream:
        assert next(stream) == "web-1:"
        assert stream.result().text == "web-1: a b"
    with pytest.raises(AgentCrashed):
        list(handle.stream("crash"))
    with pytest.raises(AgentCrashed):
        handle.stream("crash").result()


def test_a_stream_that_is_left_cancels_its_request(client: DaemonClient, core: FakeCore) -> None:
    with client.handle("solver").stream("wait") as stream:
        number = core.began.get(timeout=10)
    assert core.cancelled.get(timeout=10) == number
    with pytest.raises(DaemonError, match="closed before its end"):
        stream.result()


def test_a_request_is_cancelled_by_its_number(client: DaemonClient, core: FakeCore) -> None:
    numbers: list[int] = []
    rows: list[dict[str, object]] = []
    thread = threading.Thread(
        target=lambda: rows.append(client.send("solver", "wait", began=numbers.append))
    )
    thread.start()
    assert client.cancel(core.began.get(timeout=10))
    thread.join(10)
    assert rows[0]["id"] == numbers[0]
    with pytest.raises(RequestCancelled):
        raise failure_of(rows[0])


def test_ctrl_c_cancels_what_is_waited_for(serve: Serve, core: FakeCore, folder: Path) -> None:
    serve()
    code = (
        "import sys\n"
        "from procorch.daemon.client.client import connect\n"
        "connect(sys.argv[1]).handle('solver').send_message('wait')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stderr=subprocess.PIPE
    ) as process:
        number = core.began.get(timeout=30)
        process.send_signal(signal.SIGINT)
        assert core.cancelled.get(timeout=10) == number
        assert process.stderr is not None
        assert b"KeyboardInterrupt" in process.stderr.read()


# Events and lines.


def test_events_are_followed_until_they_are_closed(client: DaemonClient, core: FakeCore) -> None:
    assert list(client.events(last=2)) == [{"event": 0}, {"event": 1}]
    core.rows.get()
    with client.events("web:*", last=1, follow=True) as events:
        assert next(events) == {"event": 0}
        rows = core.rows.get()
        rows.put({"event": "new"})
        assert next(events) == {"event": "new"}
    assert rows.closed.wait(10)
    assert list(events) == []


def test_another_thread_may_end_what_is_followed(client: DaemonClient, core: FakeCore) -> None:
    events = client.events(last=1, follow=True)
    next(events)
    seen: list[list[object]] = []
    thread = threading.Thread(target=lambda: seen.append(list(events)))
    thread.start()
    events.close()
    thread.join(10)
    assert seen == [[]]


def test_many_lines_come_whole_and_in_order(client: DaemonClient) -> None:
    assert sum(len(line["text"]) for line in client.logs(last=5000)) == 5_000_000


def test_what_is_followed_ends_with_the_daemon(serve: Serve, folder: Path) -> None:
    server = serve()
    events = connect(folder).events(last=1, follow=True)
    next(events)
    server.close()
    with pytest.raises(DaemonEnding, match="is ending"):
        next(events)


# Daemons that are not there, or do not answer.


def test_no_daemon_is_said_with_what_to_do(folder: Path, serve: Serve) -> None:
    for where in (folder, folder / "missing"):
        with pytest.raises(NoDaemon, match=f"no daemon runs in {where}") as caught:
            connect(where)
        assert caught.value.code == 3
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(folder / "control.sock"))
    with pytest.raises(NoDaemon, match="`procorch up` starts one"):
        connect(folder)
    server = serve()
    client = connect(folder)
    server.close()
    with pytest.raises(NoDaemon):
        client.status()


def test_a_daemon_that_does_not_answer_is_not_waited_for(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(folder / "control.sock"))
        silent.listen(0)
        begun = time.monotonic()
        with pytest.raises(DaemonUnresponsive, match=r"did not answer within 0.2 s") as caught:
            connect(folder, timeout=0.2)
        assert caught.value.code == 7
        with pytest.raises(DaemonUnresponsive, match=r"took no connection within 0.2 s"):
            connect(folder, timeout="200ms")
        assert time.monotonic() < begun + 5


def test_a_daemon_that_is_stuck_in_a_verb_is_not_waited_for(
    serve: Serve, folder: Path, core: FakeCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve()
    client = connect(folder, timeout=0.2)
    monkeypatch.setattr(core, "status", lambda names: core.held.wait(30))
    with pytest.raises(DaemonUnresponsive, match=r"did not answer within 0.2 s"):
        client.status()
    with pytest.raises(DaemonUnresponsive, match=r"did not answer within 0.4 s"):
        client.restart(timeout=0.2)


def test_a_daemon_that_dies_in_the_middle_is_no_daemon(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dying:
        dying.bind(str(folder / "control.sock"))
        dying.listen()

        def die() -> None:
            for _ in range(2):
                connection, _ = dying.accept()
                with connection:
                    connection.sendall(b'{"hello":{"version":"9","pid":1}}\n')

        thread = threading.Thread(target=die)
        thread.start()
        client = connect(folder)
        with pytest.raises(NoDaemon, match="ended before it had answered"):
            client.status()
        thread.join(10)


def test_a_busy_daemon_says_so(serve: Serve, folder: Path) -> None:
    serve(Limits(connections=1))
    client = DaemonClient(folder)
    with client.events(last=1, follow=True) as events:
        next(events)
        with pytest.raises(DaemonBusy, match="1 connections already"):
            client.status()


def test_versions_that_differ_are_told(
    client: DaemonClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialog, "__version__", "0.9.0")
    with pytest.raises(BadRequest, match=r"the daemon runs version 0.1.0, this is 0.9.0: restart"):
        client._ask(dict, "nonsense")


# Where the daemon is.


def test_the_folder_is_found_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROCORCH_DIR", raising=False)
    inside = tmp_path / "app" / "deep"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    with pytest.raises(NoDaemon, match=r"there is no procorch.toml in .* or above it"):
        daemon_folder()
    (tmp_path / "procorch.toml").write_text("")
    assert daemon_folder() == tmp_path / ".procorch"
    (tmp_path / "app" / "pyproject.toml").write_text("[tool.other]\n")
    assert daemon_folder() == tmp_path / ".procorch"
    (tmp_path / "app" / "pyproject.toml").write_text("[tool.procorch.daemon]\ndir = 'run'\n")
    assert daemon_folder() == tmp_path / "app" / "run"
    monkeypatch.setenv("PROCORCH_DIR", str(tmp_path))
    assert daemon_folder() == tmp_path / ".procorch"
    assert daemon_folder("..") == tmp_path / "app" / "run"


def test_a_folder_may_be_named_in_several_ways(folder: Path, serve: Serve) -> None:
    serve()
    root = folder.parent
    (root / "other.toml").write_text("[daemon]\ndir = 'daemon'\n")
    (root / "procorch.toml").write_text("[daemon]\ndir = 'daemon'\nbroken")
    assert daemon_folder(root / "other.toml") == folder
    assert daemon_folder(folder) == folder
    assert daemon_folder(root) == root / ".procorch"  # the file is being edited
    (root / "procorch.toml").write_text(f"[daemon]\ndir = '{folder}'\n")
    assert daemon_folder(root) == folder
    assert connect(root).names()
