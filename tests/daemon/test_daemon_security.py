"""What a daemon keeps from others: modes of its files, secrets; and what it does not suffer.

One daemon serves most tests. It is started with umask 0, and knows two secrets that its agents
print, raise and write in all ways.
"""

from __future__ import annotations

import gzip
import json
import resource
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

import procorch
from procorch import DaemonClient
from tests.daemon.running import RunningDaemon, running

SECRET = "correct-horse-battery"
ODD = 'it\'s a "backslash\\" from Zürich'
"""A secret that looks otherwise in the `repr` of a text, and in JSON."""

LINES = 10_000

TOML = """
[agents.leaky]
factory = "agents:leaky"
secrets = { API_KEY = "file:key", ODD_KEY = "env:ODD" }

[agents.broken]
factory = "agents:broken"
secrets = { API_KEY = "file:key", ODD_KEY = "env:ODD" }
max_restarts = 0

[agents.plain]
factory = "agents:leaky"
instances = 2

[services.program]
command = ["sh", "-c", "echo program has $API_KEY; echo $API_KEY >&2; exec sleep 1000"]
secrets = { API_KEY = "file:key" }
"""

AGENTS = """
import os, sys

def _secrets():
    return os.environ["API_KEY"], os.environ["ODD_KEY"]

class Refused(Exception):
    pass

def leaky():
    def handle(messages):
        text = messages[-1].text
        if text == "print":
            for each in _secrets():
                print("stdout has", each, flush=True)
                print(repr(each), [each], {"key": each}, file=sys.stderr, flush=True)
                sys.stderr.write("in " + each[:5]); sys.stderr.flush()
                sys.stderr.write(each[5:] + " pieces\\n"); sys.stderr.flush()
        if text == "raise":
            try:
                raise ValueError(_secrets()[0])
            except ValueError as error:
                error.add_note("a note with " + _secrets()[0])
                raise Refused(*_secrets()) from error
        if text == "key":
            raise KeyError(_secrets()[1])
        if text == "die":
            print("fatal:", *_secrets(), file=sys.stderr, flush=True)
            os._exit(9)
        if text == "much":
            for number in range(10_000):
                print(f"line {number:06d} " + 100 * "x")
            sys.stdout.flush()
        if text.startswith("line"):
            print(text, flush=True)
        return "done"
    return handle

def broken():
    raise RuntimeError("cannot log in with " + " and ".join(_secrets()))
"""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """The shared daemon has other processes after a test; `running` looks for what is left."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """See the module."""
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "key").write_text(SECRET + "\n")
    (folder / "key").chmod(0o600)
    with running(folder, TOML, agents=AGENTS, env={"ODD": ODD}, umask=0) as made:
        # The configuration was written with the umask of the tests.
        client = made.listening()
        names = [name for name in client.names() if name != "broken"]
        assert client.wait_ready(*names, timeout=30)["ready"]
        yield made


@pytest.fixture(scope="module")
def client(daemon: RunningDaemon) -> DaemonClient:
    """A client of it."""
    return procorch.connect(daemon.folder)


@pytest.fixture(scope="module")
def leaked(client: DaemonClient) -> list[str]:
    """The agents have done what they can; the texts of the errors that came of it."""
    texts = []
    wait_until(lambda: any("program has" in line["text"] for line in client.logs("program")))
    client.handle("leaky").send_message("print")
    for message in ("raise", "key", "die"):
        with pytest.raises(procorch.AgentError) as caught:
            client.handle("leaky").send_message(message)
        texts += [str(caught.value), *strings(vars(caught.value))]
    wait_until(lambda: client.describe("leaky")["exits"] and client.status("leaky"))
    return texts


def strings(value: Any) -> Iterator[str]:
    """All texts in plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from (*strings(key), *strings(each))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings(each)


def wait_until(done: Callable[[], Any]) -> None:
    """Wait for something that is seen from outside only."""
    end = time.monotonic() + 90
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def rotate(client: DaemonClient, folder: Path) -> None:
    """Rotate the logs, and wait until the rotated files are compressed: none goes away any more."""
    client.rotate()
    logs = folder / ".procorch" / "logs"
    wait_until(lambda: all(path.suffix == ".gz" for path in logs.glob("*.log.*")))


def has_secret(text: str) -> bool:
    """Whether a secret is in a text, in any of the forms that it may have there."""
    forms = {SECRET, ODD, repr(ODD)[1:-1], json.dumps(ODD)[1:-1], "from Zürich", "horse-battery"}
    return any(form in text for form in forms)


# Secrets.


def test_no_error_has_a_secret(leaked: list[str]) -> None:
    assert [text for text in leaked if has_secret(text)] == []
    assert any("***" in text for text in leaked)


def test_no_answer_of_the_daemon_has_a_secret(client: DaemonClient, leaked: list[str]) -> None:
    told = {
        "status": client.status(),
        "events": list(client.events()),
        "logs": list(client.logs()),
        "disk": client.disk(),
        **{name: client.describe(name) for name in client.names()},
    }
    assert [text for text in strings(told) if has_secret(text)] == []
    row = told["broken"]
    assert row["state"] == "FAILED"
    assert "cannot log in with *** and ***" in row["error"]
    assert told["leaky"]["config"]["secrets"] == {"API_KEY": "file:key", "ODD_KEY": "env:ODD"}
    assert any("stdout has ***" in line["text"] for line in told["logs"])
    assert any("program has ***" in line["text"] for line in told["logs"])
    assert "fatal: *** ***" in json.dumps(told["leaky"]["exits"])


def test_no_file_of_the_daemon_has_a_secret(
    daemon: RunningDaemon, client: DaemonClient, leaked: list[str]
) -> None:
    names = {path.name for path in (daemon.folder / ".procorch").rglob("*")}
    assert {"lock", "history.sqlite", "leaky.log", "program.log", "daemon.log"} <= names
    rotate(client, daemon.folder)
    paths = [path for path in (daemon.folder / ".procorch").rglob("*") if path.is_file()]
    for path in paths:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        assert not has_secret(data.decode("utf-8", "replace")), path


def test_no_command_line_has_a_secret(daemon: RunningDaemon) -> None:
    def command_lines() -> list[str]:
        below = psutil.Process(daemon.process.pid).children(recursive=True)
        return [" ".join(each.cmdline()) for each in below]

    wait_until(lambda: any("sleep 1000" in line for line in command_lines()))
    lines = command_lines()
    assert [line for line in lines if has_secret(line)] == []


# Files.


def loose(folder: Path) -> dict[str, str]:
    """What others may read, write or enter, with its mode."""
    paths = [folder, *folder.rglob("*")]
    assert any(stat.S_ISSOCK(path.lstat().st_mode) for path in paths)
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in paths}
    return {
        path.name: oct(mode)
        for path, mode in modes.items()
        if mode != (0o700 if path.is_dir() else 0o600)
    }


def test_all_files_are_for_the_owner_alone_with_umask_0(
    daemon: RunningDaemon, client: DaemonClient, leaked: list[str]
) -> None:
    rotate(client, daemon.folder)
    assert loose(daemon.folder / ".procorch") == {}


def test_all_files_are_for_the_owner_alone_with_umask_077(tmp_path: Path) -> None:
    toml = '[agents.plain]\nfactory = "agents:leaky"\n'
    with running(tmp_path, toml, agents=AGENTS, umask=0o077) as daemon:
        client = daemon.connect()
        client.handle("plain").send_message("line 1")
        rotate(client, tmp_path)
        assert loose(tmp_path / ".procorch") == {}


def up(folder: Path) -> subprocess.CompletedProcess[str]:
    """Try to start a daemon; it must end soon."""
    return subprocess.run(
        [sys.executable, "-m", "procorch", "up"],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "procorch.toml").write_text('[agents.a]\nfactory = "agents:leaky"\n')
    (tmp_path / "agents.py").write_text(AGENTS)
    (tmp_path / ".procorch").mkdir()
    (tmp_path / ".procorch").chmod(0o777)
    ended = up(tmp_path)
    assert ended.returncode == 2
    assert f"others can write to {tmp_path / '.procorch'}: run chmod 700" in ended.stderr
    assert list((tmp_path / ".procorch").iterdir()) == []
    (tmp_path / ".procorch").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".procorch").symlink_to(tmp_path / "elsewhere")
    ended = up(tmp_path)
    assert ended.returncode == 2
    assert "must be a folder, and no link" in ended.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_of_daemons_that_start_at_once_one_runs(tmp_path: Path) -> None:
    toml = '[agents.plain]\nfactory = "agents:leaky"\n'
    with running(tmp_path, toml, agents=AGENTS) as first:
        others = [RunningDaemon(tmp_path) for _ in range(2)]
        try:
            daemons = [first, *others]
            wait_until(lambda: sum(each.process.poll() is not None for each in daemons) == 2)
            (winner,) = [each for each in daemons if each.process.poll() is None]
            client = winner.connect()
            assert client.ping()["pid"] == winner.process.pid
            for each in daemons:
                if each is not winner:
                    assert each.process.returncode == 1
                    assert "a daemon runs in" in "".join(each.lines())
            assert winner.end() == 0
        finally:
            for each in others:
                each.process.kill()
                each.process.communicate(timeout=30)


# What clients and the machine do.


def test_twenty_restarts_at_once_leave_an_agent_that_works(client: DaemonClient) -> None:
    with ThreadPoolExecutor(20) as threads:
        rows = [
            row
            for rows in threads.map(lambda _: client.restart("plain", timeout=50), range(20))
            for row in rows
        ]
    assert len(rows) == 20
    assert "restarted" in {row["result"] for row in rows}
    assert client.wait_ready("plain", timeout=30)["ready"]
    assert client.handle("plain").send_message("on").text == "done"


def test_a_client_that_does_not_read_on_disturbs_nobody(
    daemon: RunningDaemon, client: DaemonClient
) -> None:
    with socket.socket(socket.AF_UNIX) as lazy:
        lazy.connect(str(daemon.folder / ".procorch" / "control.sock"))
        lazy.sendall(b'{"verb": "logs", "args": {"names": ["plain"], "follow": true}}\n')
        assert b"hello" in lazy.recv(1000)
        memory = psutil.Process(daemon.process.pid).memory_info().rss
        client.handle("plain").send_message("much", timeout=30)  # 1.1 MB
        begun = time.monotonic()
        client.status()
        assert time.monotonic() - begun < 5
        grown = psutil.Process(daemon.process.pid).memory_info().rss - memory
        assert grown < 20 << 20

        def numbers() -> list[int]:
            texts = [row["text"] for row in client.logs("plain")]
            return [int(text.split()[1]) for text in texts if text.endswith("xxx")]

        wait_until(lambda: len(numbers()) >= LINES)
        assert numbers() == list(range(LINES))


def test_agents_serve_while_the_disk_is_full(daemon: RunningDaemon, client: DaemonClient) -> None:
    pid = daemon.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    handle = client.handle("plain")
    client.rotate()
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        for number in range(20):
            assert handle.send_message(f"line full {number}").text == "done"
        with pytest.raises(procorch.AgentCrashed):
            client.handle("leaky").send_message("die")
        assert client.status()["daemon"]["state"] in ("running", "starting")
        assert client.wait_ready("leaky", timeout=30)["ready"]
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)

    def texts() -> list[str]:
        return [line["text"] for line in client.logs("plain")]

    wait_until(lambda: "line full 19" in texts())
    assert [text for text in texts() if text.startswith("line full")] == [
        f"line full {number}" for number in range(20)
    ]
    wait_until(lambda: list(client.events("leaky", last=3))[-1]["type"] == "Ready")


def test_clients_leave_no_descriptor_and_no_thread_behind(
    daemon: RunningDaemon, client: DaemonClient
) -> None:
    process = psutil.Process(daemon.process.pid)

    def ask() -> None:
        for _ in range(20):
            client.status("plain")
            client.events(last=1).close()
            client.logs(last=1, follow=True).close()

    ask()  # threads that answer stay, each with what it reads from
    before = process.num_fds(), process.num_threads()
    ask()
    wait_until(lambda: process.num_fds() <= before[0] + 4)
    assert process.num_threads() <= before[1] + 2
