"""Reloads of a running daemon: configuration and code (design 8.4)."""

from __future__ import annotations

import re
import signal
import threading
from pathlib import Path

import psutil
import pytest

import procorch
from procorch import DaemonClient
from tests.daemon.running import running

TWO = """
[agents.one]
factory = "one:make"
request_timeout = "20s"

[agents.two]
factory = "two:make"
"""


def deploy(folder: Path, name: str, answer: str) -> None:
    """Write a version of a module; no two have the same size, so no cached one is taken."""
    (folder / f"{name}.py").write_text(f"def make():\n    return lambda messages: {answer!r}\n")


def pids(client: DaemonClient) -> dict[str, list[int]]:
    """The processes of each agent."""
    rows = client.status()["agents"]
    return {row["name"]: [each["pid"] for each in row["instances"]] for row in rows}


def test_a_reload_replaces_what_changed_and_leaves_the_rest(tmp_path: Path) -> None:
    deploy(tmp_path, "one", "1")
    deploy(tmp_path, "two", "1")
    with running(tmp_path, TWO) as daemon:
        client = daemon.connect()
        before = pids(client)
        assert client.reload()["changes"] == []
        assert pids(client) == before

        deploy(tmp_path, "one", "12")
        shown = client.reload(dry_run=True)
        assert [each["name"] for each in shown["changes"]] == ["one"]
        assert client.handle("one").send_message("?").text == "1"
        client.reload()
        assert client.handle("one").send_message("?").text == "12"
        after = pids(client)
        assert after["two"] == before["two"]
        assert after["one"] != before["one"]

        # A crash restarts the release, whatever is on disk meanwhile.
        deploy(tmp_path, "one", "123")
        (pid,) = after["one"]
        events = client.events("one", follow=True, last=0)
        threading.Thread(target=_kill, args=(pid,)).start()
        assert any(event["type"] == "Ready" for event in events)
        assert client.handle("one").send_message("?").text == "12"

        client.rollback()
        assert client.handle("one").send_message("?").text == "1"
        with pytest.raises(procorch.DaemonError, match="no release to return to"):
            client.rollback()

        # Code that does not start ends the reload: agents that were replaced before go back.
        (tmp_path / "two.py").write_text("raise RuntimeError('half a deployment')\n")
        with pytest.raises(procorch.ReloadError, match="half a deployment"):
            client.reload()
        assert client.handle("one").send_message("?").text == "1"
        assert pids(client)["two"] == before["two"]
        assert releases(client) == {"": 1, "one": 1, "two": 1}


def _kill(pid: int) -> None:
    import os

    os.kill(pid, signal.SIGKILL)


def test_a_changed_file_is_applied_part_by_part(tmp_path: Path) -> None:
    deploy(tmp_path, "one", "1")
    deploy(tmp_path, "two", "1")
    deploy(tmp_path, "three", "3")
    with running(tmp_path, TWO) as daemon:
        client = daemon.connect()
        before = pids(client)
        toml = TWO.replace('"20s"', '"30s"').partition("[agents.two]")[0]
        (tmp_path / "procorch.toml").write_text(
            f'{toml}instances = 2\n[agents.three]\nfactory = "three:make"\n'
        )
        changes = {each["name"]: each["change"] for each in client.reload()["changes"]}
        assert changes == {"one": "live", "two": "removed", "three": "added"}
        assert client.wait_ready(timeout=30)["ready"]
        after = pids(client)
        assert set(after) == {"one", "three"}
        assert after["one"][0] == before["one"][0]
        assert len(after["one"]) == 2
        assert client.handle("three").send_message("?").text == "3"

        (tmp_path / "procorch.toml").write_text("[agents.one]\nfactry = 3\n")
        with pytest.raises(procorch.DaemonError, match=r"procorch\.toml:2.*factry"):
            client.reload()
        assert pids(client) == after


def releases(client: DaemonClient) -> dict[str, int]:
    """The release of each agent, and under "" that of the daemon."""
    status = client.status()
    return {row["name"]: row["release"] for row in status["agents"]} | {
        "": status["daemon"]["release"]
    }


def test_a_reload_is_one_release_with_one_zygote_for_all_that_it_replaces_and_adds(
    tmp_path: Path,
) -> None:
    deploy(tmp_path, "one", "1")
    deploy(tmp_path, "two", "1")
    with running(tmp_path, TWO) as daemon:
        client, process = daemon.connect(), psutil.Process(daemon.process.pid)
        (first,) = process.children()  # workers are children of a zygote
        deploy(tmp_path, "two", "12")
        # The zygote has loaded this module already, without the function.
        more = "\ndef more():\n    return lambda messages: 'more'\n"
        (tmp_path / "one.py").write_text(f"def make():\n    return lambda messages: '12'\n{more}")
        added = '[agents.more]\nfactory = "one:more"\n'
        (tmp_path / "procorch.toml").write_text(TWO + added)
        assert client.reload()["release"] == 2
        assert client.wait_ready(timeout=30)["ready"]
        assert client.handle("more").send_message("?").text == "more"
        assert releases(client) == {"": 2, "one": 2, "two": 2, "more": 2}
        (second,) = set(process.children()) - {first}

        assert client.rollback()["release"] == 1
        assert releases(client) == {"": 1, "one": 1, "two": 1}
        assert psutil.wait_procs([second], timeout=30)[1] == []
        deploy(tmp_path, "two", "123")
        assert client.reload("two")["release"] == 3  # no number is given twice
        assert releases(client) == {"": 3, "one": 3, "two": 3, "more": 3}


def test_requests_go_on_during_a_reload(tmp_path: Path) -> None:
    deploy(tmp_path, "one", "1")
    with running(tmp_path, '[agents.one]\nfactory = "one:make"\ninstances = 2\n') as daemon:
        client = daemon.connect()
        handle, over = client.handle("one"), threading.Event()
        answers: list[str] = []

        def ask() -> None:
            while not over.is_set():
                answers.append(handle.send_message("?").text)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(2, 5):
            deploy(tmp_path, "one", "1" * number)
            client.reload()
        over.set()
        for thread in threads:
            thread.join()
        assert handle.send_message("?").text == "1111"
        assert set(answers) <= {"1", "11", "111", "1111"}


def test_a_changed_file_is_taken_when_it_is_watched(tmp_path: Path) -> None:
    deploy(tmp_path, "one", "1")
    with running(tmp_path, '[agents.one]\nfactory = "one:make"\n', "--watch") as daemon:
        client = daemon.connect()
        events = client.events("one", follow=True, last=0)
        deploy(tmp_path, "one", "12")
        assert any(event["type"] == "Reloaded" for event in events)
        assert client.handle("one").send_message("?").text == "12"


def test_a_reload_says_what_differs_and_applies_what_belongs_to_the_daemon(tmp_path: Path) -> None:
    deploy(tmp_path, "one", "1")
    toml = '[daemon]\n{}\n[agents.one]\nfactory = "one:make"\nenv_file = "variables"\n'
    variables = tmp_path / "variables"
    variables.write_text("A=1\n")
    with running(tmp_path, toml.format("")) as daemon:
        client = daemon.connect()
        file = tmp_path / "procorch.toml"
        variables.write_text("A=2\n")
        (change,) = client.reload(dry_run=True)["changes"]
        assert change["keys"] == ["environment"]
        variables.write_text("A=1\n")
        file.write_text(toml.format("") + 'env = { B = "1" }\n')
        (change,) = client.reload(dry_run=True)["changes"]
        assert change["keys"] == ["env"]

        file.write_text(toml.format('drain_timeout = "1.5s"\nhistory = { max_size = "2MB" }'))
        client.reload()
        assert client.status()["daemon"]["drain_timeout"] == 1.5
        assert client.disk()["history"]["limit"] == 2 << 20


def test_code_that_others_could_change_is_not_loaded(tmp_path: Path) -> None:
    deploy(tmp_path, "one", "1")
    toml = '[agents.one]\nfactory = "one:make"\n'
    refusal = f"procorch.toml:1: one: its code {tmp_path}/one.py: others may write to it"
    with running(tmp_path, toml) as daemon:
        client = daemon.connect()
        before = pids(client)
        deploy(tmp_path, "one", "12")
        (tmp_path / "one.py").chmod(0o666)
        with pytest.raises(procorch.DaemonError, match=re.escape(refusal)):
            client.reload()
        assert pids(client) == before
    with running(tmp_path, toml) as daemon:
        assert daemon.process.wait(30) == 2
        assert refusal in "".join(daemon.lines())


def test_the_end_of_the_daemon_gives_a_reload_up_and_says_so(tmp_path: Path) -> None:
    deploy(tmp_path, "one", "1")
    with running(tmp_path, '[agents.one]\nfactory = "one:make"\n') as daemon:
        client = daemon.connect()
        (tmp_path / "one.py").write_text("import time\ntime.sleep(600)\n")
        events = client.events("one", follow=True, last=0)
        told: list[str] = []

        def reload() -> None:
            try:
                client.reload()
            except procorch.DaemonError as error:
                told.append(str(error))

        thread = threading.Thread(target=reload)
        thread.start()
        assert any(event["type"] == "Reloading" for event in events)
        assert daemon.end(signal.SIGTERM) == 0
        thread.join()
        assert "end" in told[0]
        assert "orchestrator" not in told[0]
