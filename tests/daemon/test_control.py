"""The control socket, over real connections: what clients may do, and what it does not suffer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from procorch.daemon.control.connection import Limits
from procorch.daemon.control.protocol import LINE_LIMIT
from procorch.daemon.control.socket_file import connect
from procorch.daemon.control.verbs import VERBS
from procorch.daemon.errors import DaemonError
from tests.daemon.conftest import Serve
from tests.daemon.fake_core import FakeCore

QUICK = Limits(connections=64, line=0.3, idle=0.3, stalled=0.3)


class Raw:
    """A client that sends what it likes."""

    def __init__(self, folder: Path) -> None:
        self.socket = connect(folder, folder / "control.sock", 5.0)
        self.socket.settimeout(20.0)
        self._file = self.socket.makefile("rb")

    def line(self) -> Any:
        """The next line; None at the end."""
        try:
            line = self._file.readline()
        except ConnectionResetError:
            return None
        return json.loads(line) if line else None

    def send(self, line: bytes) -> None:
        self.socket.sendall(line)

    def ask(self, verb: str, **args: Any) -> Any:
        """The first line of the answer."""
        self.send(json.dumps({"verb": verb, "args": args, "version": "0.1.0"}).encode() + b"\n")
        return self.line()

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@pytest.fixture
def raw(folder: Path) -> Iterator[Callable[[], Raw]]:
    """Connect; closed at the end."""
    made: list[Raw] = []

    def new() -> Raw:
        made.append(Raw(folder))
        return made[-1]

    yield new
    for each in made:
        each.close()


@pytest.fixture
def client(serve: Serve, raw: Callable[[], Raw]) -> Raw:
    """A client that the server has greeted."""
    serve()
    client = raw()
    assert client.line()["hello"]["pid"] == os.getpid()
    return client


def admitted(raw: Callable[[], Raw]) -> Raw:
    """A client that was greeted; those that went away just now may still be counted."""
    for _ in range(200):
        client = raw()
        if "hello" in client.line():
            return client
        client.close()
        time.sleep(0.01)
    raise AssertionError("all clients are refused")


# Requests and answers.


def test_requests_of_one_connection_are_answered_one_after_the_other(client: Raw) -> None:
    assert client.ask("names")["value"] == {"solver": None, "web-1": "web", "web-2": "web"}
    client.send(b'{"verb":"describe","args":{"name":"solver"}}\n{"verb":"prune"}\n{"verb":"stat')
    assert client.line() == {"ok": True, "value": {"name": "solver"}}
    assert client.line() == {"ok": True, "value": {"logs": 0}}
    client.send(b'us"}\n')
    assert len(client.line()["value"]["agents"]) == 3


def test_names_become_names_before_the_daemon_sees_them(client: Raw, core: FakeCore) -> None:
    client.ask("start", names=["web:*"], timeout=5)
    client.ask("scale", counts={"web-*": 2, "web-2": 3})
    assert core.called == [
        ("start", ["web-1", "web-2"], 5.0),
        ("scale", {"web-1": 2, "web-2": 3}, None),
    ]
    assert client.ask("stop", names=["wbe-1"])["error"] == {
        "type": "UnknownAgent",
        "message": "there is no agent 'wbe-1'; did you mean 'web-1'?",
        "code": 4,
    }


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_table_and_refuses_arguments_that_it_does_not_know(
    client: Raw, verb: str
) -> None:
    error = client.ask(verb, nonsense=1, name="solver", message="", request=1, counts={})["error"]
    assert error["type"] == "BadRequest"
    assert error["code"] == 2
    assert error["message"].startswith(f"{verb}: ")
    assert "unknown field" in error["message"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"", "not a request: Input data was truncated"),
        (b"hello", "not a request: JSON is malformed"),
        (b"[1, 2]", "not a request: Expected `object`, got `array`"),
        (b'{"verb": 1}', "Expected `str`, got `int` - at `$.verb`"),
        (b'{"verb": "status", "more": 1}', "unknown field `more`"),
        (b'{"args": {}}', "missing required field `verb`"),
        (b'{"verb": "status"', "not a request: Input data was truncated"),
        (b'{"verb": "status", "args": []}', "status: Expected `object`, got `array`"),
        (b'{"verb": "status", "args": {"names": "a"}}', "Expected `array`, got `str`"),
        (b'{"verb": "start", "args": {"timeout": -1}}', "start: Expected `float` >= 0.0"),
        (b'{"verb": "start", "args": {"timeout": NaN}}', "JSON is malformed"),
        (b'{"verb": "\xff"}', "Invalid UTF-8"),
        (b'{"verb": "sttaus"}', "there is no verb 'sttaus'; did you mean 'status'?"),
        (b'{"verb": "__class__"}', "there is no verb '__class__'"),
        (b'{"verb": "core.shutdown"}', "there is no verb 'core.shutdown'; did you mean 'shutdown'"),
        (b'{"verb": "status.__init__.__globals__"}', "there is no verb 'status.__init__"),
        (b'{"verb": "s", "args": ' + b"[" * 65 + b"]" * 65 + b"}", "at most 64 lists and objects"),
        (b'{"a":' * 100_000, "at most 64 lists and objects"),
        (b'"\\' + b'"\\' * 300_000 + b"[" * 100, "not a request"),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_goes_on(
    client: Raw, line: bytes, text: str
) -> None:
    client.send(line + b"\n")
    error = client.line()["error"]
    assert error["type"] == "BadRequest"
    assert text in error["message"]
    assert client.ask("prune")["ok"]


def test_brackets_in_text_are_no_depth(client: Raw, core: FakeCore) -> None:
    message = {"text": '[{"' * 1000, "deep": [[[[1]]]]}
    client.ask("send", name="solver", message=message)
    assert client.line()["value"]["output"] == message


def test_a_line_of_the_largest_size_is_taken_and_a_longer_one_refused(
    client: Raw, raw: Callable[[], Raw]
) -> None:
    start, end = b'{"verb":"send","args":{"name":"solver","message":"', b'"}}'
    client.send(start + b"x" * (LINE_LIMIT - len(start) - len(end)) + end + b"\n")
    assert client.line() == {"began": 1}
    assert client.line()["ok"]
    for text in (b"x" * (2 << 20), b"[" * (2 << 20) + b"\n"):
        large = raw()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012
            large.send(text)
            large.send(text)
        assert "hello" in large.line()
        assert large.line()["error"]["message"].startswith("a request is at most 1048576 bytes")
        assert large.line() is None
    assert client.ask("prune")["ok"]


def test_errors_keep_their_class_and_nothing_secret_is_in_them(client: Raw) -> None:
    assert client.ask("scale", counts={"solver": 101})["error"] == {
        "type": "BadRequest",
        "message": "an agent has at most 100 instances",
        "code": 2,
    }
    assert client.ask("reload")["error"] == {
        "type": "ConfigErrors",
        "message": "procorch.toml:3: agents.solver.max_restarts: not a number",
        "code": 2,
    }
    crashed = client.ask("rollback")["error"]
    assert crashed["type"] == "AgentCrashed"
    assert crashed["plain"]["figures"]["signal"] == "SIGSEGV"
    assert "No space left" in client.ask("rotate")["error"]["message"]
    odd = client.ask("describe", name="web-2")["error"]
    assert odd["type"] == "DaemonError"
    assert odd["message"].startswith("the answer cannot be sent as JSON: 'utf-8' codec")
    broken = client.ask("disk")["error"]
    assert broken["message"].startswith("the daemon could not do this: TypeError: password=***")


# Streams, and clients that go away.


def test_a_stream_sends_items_and_an_end(client: Raw) -> None:
    assert client.ask("events", last=2) == {"item": {"event": 0}}
    assert client.line() == {"item": {"event": 1}}
    assert client.line() == {"end": None}
    assert client.ask("stream", name="solver", message="a b") == {"began": 1}
    pieces = [client.line() for _ in range(3)]
    assert pieces == [{"item": "solver:"}, {"item": "a"}, {"item": "b"}]
    assert client.line()["end"]["state"] == "done"
    assert client.ask("prune")["ok"]


@pytest.mark.parametrize("verb", ["send", "stream"])
def test_a_client_that_goes_away_cancels_its_request(
    client: Raw, core: FakeCore, verb: str
) -> None:
    assert client.ask(verb, name="solver", message="wait") == {"began": 1}
    client.close()
    assert core.cancelled.get(timeout=10) == 1


def test_a_client_that_goes_away_ends_what_it_follows(client: Raw, core: FakeCore) -> None:
    assert client.ask("events", last=1, follow=True)["item"] == {"event": 0}
    rows = core.rows.get()
    rows.put({"event": "new"})
    assert client.line() == {"item": {"event": "new"}}
    client.close()
    assert rows.closed.wait(10)


def test_a_client_that_only_writes_no_more_still_gets_its_answer(client: Raw) -> None:
    client.send(b'{"verb":"prune"}\n')
    client.socket.shutdown(socket.SHUT_WR)
    assert client.line() == {"ok": True, "value": {"logs": 0}}
    assert client.line() is None


def test_a_client_that_reads_nothing_is_dropped_and_disturbs_nobody(
    serve: Serve, raw: Callable[[], Raw], core: FakeCore
) -> None:
    serve(Limits(stalled=0.3))
    follower, other = raw(), raw()
    other.line()
    before = psutil.Process().memory_info().rss
    follower.ask("logs")  # without an end
    rows = core.rows.get()
    answers = 0
    while not rows.closed.wait(0.01):
        assert other.ask("prune")["ok"]
        answers += 1
    assert answers > 5
    assert rows.given < 10_000
    assert psutil.Process().memory_info().rss - before < 50 << 20
    assert other.ask("prune")["ok"]


# Limits.


@pytest.mark.parametrize("sent", [b"", b'{"verb": "st', b'{"verb":"prune"}\n', b"\n{"])
def test_a_client_that_takes_its_time_is_told_and_dropped(
    serve: Serve, raw: Callable[[], Raw], sent: bytes
) -> None:
    serve(QUICK)
    client = raw()
    client.send(sent)
    assert "hello" in client.line()
    if sent.count(b"\n"):
        client.line()
    assert client.line()["error"]["message"] == "no whole request came within 0.3 s"
    assert client.line() is None


def test_a_client_that_drips_is_dropped(serve: Serve, raw: Callable[[], Raw]) -> None:
    serve(QUICK)
    client = raw()
    begun = time.monotonic()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012
        while time.monotonic() < begun + 10:
            client.send(b" ")
            time.sleep(0.01)
    assert time.monotonic() < begun + 5


def test_of_a_hundred_connections_those_beyond_the_limit_are_told_at_once(
    serve: Serve, raw: Callable[[], Raw]
) -> None:
    serve()
    clients = [raw() for _ in range(100)]
    first = [client.line() for client in clients]
    assert sum("hello" in line for line in first) == 64
    refused = [line["error"] for line in first if "error" in line]
    assert {(each["type"], each["code"]) for each in refused} == {("DaemonBusy", 1)}
    for client, line in zip(clients, first, strict=True):
        if "hello" in line:
            assert client.ask("prune")["ok"]
        else:
            assert client.line() is None
        client.close()
    assert admitted(raw).ask("prune")["ok"]


def test_two_clients_are_answered_at_once(client: Raw, raw: Callable[[], Raw]) -> None:
    other = raw()
    other.line()
    assert client.ask("send", name="solver", message="wait") == {"began": 1}
    assert other.ask("send", name="solver", message="two") == {"began": 2}
    assert other.line()["value"]["text"] == "solver: two"
    assert other.ask("cancel", request=1) == {"ok": True, "value": True}
    assert client.line()["value"]["state"] == "failed"


# The end.


def test_the_end_tells_every_client_and_takes_no_time(
    serve: Serve, raw: Callable[[], Raw], core: FakeCore, folder: Path
) -> None:
    server = serve()
    idle, follower, waiting, sending = (raw() for _ in range(4))
    for each in (idle, follower, waiting, sending):
        each.line()
    follower.ask("events", follow=True, last=1)
    waiting.send(b'{"verb":"wait_ready"}\n')
    sending.ask("send", name="solver", message="wait")
    core.began.get(timeout=10)
    server.end_soon()
    assert idle.ask("start")["error"]["type"] == "DaemonEnding"
    assert idle.ask("status")["ok"]
    begun = time.monotonic()
    server.close()
    assert time.monotonic() < begun + 5
    for each in (idle, follower, waiting):
        assert each.line()["error"] == {
            "type": "DaemonEnding",
            "message": f"the daemon in {folder} is ending",
            "code": 3,
        }
        assert each.line() is None
    assert sending.line()["value"]["error"]["class"] == "RequestCancelled"
    assert not (folder / "control.sock").exists()


def test_a_verb_that_does_not_return_holds_up_nothing(
    serve: Serve, raw: Callable[[], Raw], core: FakeCore
) -> None:
    server = serve()
    client = raw()
    client.line()
    client.send(b'{"verb":"restart"}\n')
    core.began.get(timeout=10)
    begun = time.monotonic()
    server.close()
    assert time.monotonic() < begun + 10
    assert client.line() is None
    core.held.set()


def test_calls_that_were_left_behind_do_not_take_all_threads(
    serve: Serve, raw: Callable[[], Raw], core: FakeCore
) -> None:
    serve(Limits(connections=2))
    for _ in range(4):
        client = admitted(raw)
        client.send(b'{"verb":"restart"}\n')
        core.began.get(timeout=10)
        client.close()
    client = admitted(raw)
    assert client.ask("prune")["error"]["type"] == "DaemonBusy"
    core.held.set()
    while "error" in client.ask("prune"):
        time.sleep(0.01)


# The file.


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_socket_is_its_owners_alone_whatever_the_umask(
    serve: Serve, folder: Path, raw: Callable[[], Raw], umask: int
) -> None:
    before = os.umask(umask)
    try:
        serve()
        found = (folder / "control.sock").lstat()
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert "hello" in raw().line()


@pytest.mark.parametrize("mode", [0o770, 0o701, 0o777])
def test_a_folder_that_others_can_enter_is_refused(serve: Serve, folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(DaemonError, match=f"others can enter .* \\(mode 0{mode:o}\\): chmod 700"):
        serve()
    folder.chmod(0o700)


def test_a_socket_that_a_killed_process_has_left_is_replaced(
    serve: Serve, folder: Path, raw: Callable[[], Raw]
) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from procorch.daemon.control.server import ControlServer\n"
        "ControlServer(pathlib.Path(sys.argv[1]), None).start()\n"
        "print('started', flush=True)\n"
        "time.sleep(60)\n"
    )
    path = folder / "control.sock"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.send_signal(signal.SIGKILL)
    assert path.exists()
    serve()
    assert raw().line()["hello"]["pid"] == os.getpid()


def test_what_is_no_socket_is_not_removed(serve: Serve, folder: Path) -> None:
    (folder / "control.sock").write_text("precious")
    with pytest.raises(DaemonError, match="is there already, and is no socket"):
        serve()
    assert (folder / "control.sock").read_text() == "precious"


def test_a_path_that_no_address_holds_works(serve: Serve, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 12)
    deep.mkdir(0o700, parents=True)
    server = serve(where=deep)
    client = Raw(deep)
    assert "hello" in client.line()
    client.close()
    server.close()
    assert list(deep.iterdir()) == []


def test_the_socket_of_a_successor_is_not_removed(serve: Serve, folder: Path) -> None:
    first = serve()
    serve()
    first.close()
    assert (folder / "control.sock").exists()


# Other users.

AS_NOBODY = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
except PermissionError:
    print("no permission")
else:
    data = b""
    try:
        s.sendall(b'{"verb":"shutdown"}\\n')
    except OSError:
        pass
    try:
        while piece := s.recv(4096):
            data += piece
    except ConnectionResetError:
        pass
    print(data.decode(), end="")
"""

CLIENT_AS_NOBODY = """
import difflib, os, socket, sys
from procorch.daemon.client.client import connect
from procorch.daemon.errors import AccessRefused
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    connect(sys.argv[1])
except AccessRefused as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_other_users_are_refused_by_the_file_and_by_the_server(
    serve: Serve, core: FakeCore, raw: Callable[[], Raw]
) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # others cannot enter that of pytest
    try:
        serve(where=folder)
        path = folder / "control.sock"

        def as_nobody(code: str = AS_NOBODY, where: Path = path) -> str:
            done = subprocess.run(
                [sys.executable, "-c", code, str(where)],
                capture_output=True, text=True, timeout=30, check=True,
            )  # fmt: skip
            return done.stdout

        refusal = f"the daemon in {folder} belongs to another user\n"
        assert as_nobody(CLIENT_AS_NOBODY, folder) == refusal
        assert as_nobody() == "no permission\n"
        folder.chmod(0o755)
        assert as_nobody() == "no permission\n"
        path.chmod(0o666)
        refused = json.loads(as_nobody())["error"]
        assert refused["type"] == "AccessRefused"
        assert "65534" in refused["message"]
        assert core.called == []
    finally:
        shutil.rmtree(folder)
