"""The history of the daemon: events, exits and drift; bounds, damage, a full disk, versions."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentStatus,
    Crashed,
    Notice,
    Ready,
    Restarting,
    StartError,
    Starting,
    Stopped,
)
from procorch.daemon.history import history as history_module
from procorch.daemon.history.file import MIGRATIONS, HistoryError
from procorch.daemon.history.history import History
from procorch.daemon.specs import HistorySettings

Make = Callable[..., History]
MOST = 20.0  # seconds


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[History] = []

    def begin(*, mask: Callable[[str], str] = str, **settings: Any) -> History:
        made.append(History(tmp_path / "history.sqlite", HistorySettings(**settings), mask))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def at(kind: type[Notice], generation: int = 1, time_: float | None = None, **more: Any) -> Notice:
    more.setdefault("agent", "a")
    when = time.time() if time_ is None else time_
    return kind(generation=generation, at=1.0, time=when, **more)


def generations(history: History, *agents: str, **more: Any) -> list[int]:
    return [event["generation"] for event in history.events(agents or ["a"], **more)]


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + MOST
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# ---- events


def test_events_come_back_as_they_were_over_a_restart(make: Make) -> None:
    history = make()
    first, second = at(Starting), at(Crashed, error=AgentCrashed(signal="SIGSEGV", agent="a"))
    history.record(first)
    history.record(second)
    expected = json.loads(json.dumps([first.as_dict(), second.as_dict()]))
    assert list(history.events(["a"])) == expected
    history.close()
    assert list(make().events(["a"])) == expected


def test_events_are_chosen_by_agent_number_and_time(make: Make) -> None:
    history = make()
    now = time.time()
    for number in range(10):
        agent = "even" if number % 2 == 0 else "odd"
        history.record(at(Ready, number, now - 100 + number, agent=agent))
    assert generations(history, "even", "odd") == [*range(10)]
    assert generations(history, "odd") == [1, 3, 5, 7, 9]
    assert generations(history, "odd", last=2) == [7, 9]
    assert generations(history, "even", "odd", since=now - 100 + 6.5) == [7, 8, 9]
    assert generations(history, "even", since=now - 100 + 5, last=1) == [8]
    assert generations(history, "even", last=0) == []
    assert generations(history, "nobody") == []


def test_many_events_are_read_in_parts(make: Make) -> None:
    history = make()
    for number in range(1300):
        history.record(at(Ready, number))
    assert generations(history) == [*range(1300)]


def test_a_follower_gets_the_past_and_then_what_comes(make: Make) -> None:
    history = make()
    for number in range(5):
        history.record(at(Ready, number))
    rows = history.events(["a"], follow=True, last=2)
    assert [row["generation"] for row in islice(rows, 2)] == [3, 4]
    threading.Timer(0.05, history.record, (at(Ready, 5),)).start()
    assert next(rows)["generation"] == 5
    ended = threading.Event()

    def wait() -> None:
        assert list(rows) == []
        ended.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    rows.close()
    rows.close()
    assert ended.wait(MOST)
    waiting.join()


def test_a_follower_ends_with_the_history(make: Make) -> None:
    history = make()
    rows = history.events(["a"], follow=True)
    history.record(at(Ready, 1))
    assert next(rows)["generation"] == 1
    history.record(at(Ready, 2))
    history.close()
    assert [row["generation"] for row in rows] == [2]


def test_secrets_are_hidden_also_where_json_writes_them_otherwise(
    make: Make, tmp_path: Path
) -> None:
    secret = 'p"a\\ss\nwörd'
    history = make(mask=lambda text: text.replace(secret, "***"))
    error = AgentCrashed(f"it said {secret}", agent="a", stderr_tail=f"key {secret}.")
    history.record(at(Starting))
    history.record(at(Crashed, error=error))
    event = list(history.events(["a"]))[1]
    assert event["error"]["details"]["stderr_tail"] == "key ***."
    (exit,) = history.exits("a")
    assert exit["stderr_tail"] == "key ***."
    assert "it said ***" in exit["reason"]
    history.close()
    assert "wörd".encode() not in (tmp_path / "history.sqlite").read_bytes()


# ---- exits


def test_an_exit_has_its_reason_place_output_and_uptime(make: Make) -> None:
    history = make()
    began = time.time()
    stack = 'Current thread (most recent call first):\n  File "/home/me/app.py", line 9 in boom\n'
    error = AgentCrashed(
        agent="a",
        pid=4711,
        exitcode=-11,
        stderr_tail="last words\n",
        last_stack=stack,
        generation=3,
    )
    history.record(at(Starting, 3, began))
    history.record(at(Crashed, 3, began + 12.5, error=error))
    history.record(at(Restarting, 3, began + 12.5, counted=True, restart=1, max_restarts=3))
    (exit,) = history.exits("a")
    assert exit == {
        "time": began + 12.5,
        "agent": "a",
        "instance": 0,
        "generation": 3,
        "pid": 4711,
        "reason": "agent 'a' (pid 4711) crashed: SIGSEGV",
        "signal": "SIGSEGV",
        "exitcode": None,
        "place": exit["place"],
        "stderr_tail": "last words\n",
        "last_stack": stack,
        "uptime": pytest.approx(12.5),
    }
    assert "SIGSEGV at " in exit["place"]
    assert "app.py:9" in exit["place"]


def test_ends_without_a_crash_are_exits_too_and_each_is_told_once(make: Make) -> None:
    history = make()
    failed = StartError(agent="a", exc_type="ValueError", exc_str="no key")
    history.record(at(Starting, 1))
    history.record(at(Restarting, 1, counted=False, restart=0, max_restarts=3, planned=True))
    history.record(at(Starting, 2))
    history.record(at(Crashed, 2, error=AgentCrashed(agent="a", exitcode=3)))
    history.record(at(Restarting, 2, counted=True, restart=1, max_restarts=3))
    history.record(at(Starting, 3))
    history.record(at(Stopped, 3, status=AgentStatus.FAILED, error=failed))
    history.record(at(Starting, 4))
    history.record(at(Ready, 4))
    history.record(at(Stopped, 4, status=AgentStatus.STOPPED, error=None))
    exits = history.exits("a")
    assert [exit["generation"] for exit in exits] == [1, 2, 3, 4]
    assert exits[0]["reason"] == "replaced as planned"
    assert exits[1]["exitcode"] == 3
    assert exits[2]["reason"].startswith("ended FAILED: ")
    assert "no key" in exits[2]["reason"]
    assert exits[3]["reason"] == "ended STOPPED"
    assert [exit["generation"] for exit in history.exits("a", 2)] == [3, 4]


def test_the_last_exits_of_each_agent_are_kept(make: Make) -> None:
    history = make(exits=3)
    for number in range(1, 8):
        for agent in ("a", "b"):
            history.record(at(Starting, number, agent=agent))
            history.record(at(Crashed, number, agent=agent, error=AgentCrashed(exitcode=1)))
        history.exits("a")
    for agent in ("a", "b"):
        assert [exit["generation"] for exit in history.exits(agent)] == [5, 6, 7]


# ---- drift


def test_what_operators_changed_is_there_after_a_restart_until_it_is_cleared(make: Make) -> None:
    history = make()
    history.set_drift({"a": {"wanted": False}, "b": {"size": 4, "paused": True}})
    history.set_drift({"a": {}, "c": {"size": 0}})
    expected = {"b": {"size": 4, "paused": True}, "c": {"size": 0}}
    assert history.drift() == expected
    history.close()
    history = make()
    assert history.drift() == expected
    history.clear_drift()
    history.close()
    assert make().drift() == {}


# ---- bounds


def test_old_events_and_exits_go(make: Make) -> None:
    history = make(keep=100.0)
    for generation, age in ((1, 200), (2, 50)):
        history.record(at(Starting, generation, time.time() - age))
        history.record(at(Crashed, generation, time.time() - age, error=AgentCrashed(exitcode=1)))
    history.prune()
    assert generations(history) == [2, 2]
    assert [exit["generation"] for exit in history.exits("a")] == [2]


def test_the_file_stays_small_and_the_oldest_events_go_first(make: Make) -> None:
    history = make(max_size=300_000)
    error = AgentCrashed(agent="a", last_stack="x" * 3000)
    for number in range(400):
        history.record(at(Crashed, number, error=error))
        if number % 40 == 0:
            history.prune()
    history.prune()
    assert history.disk()["bytes"] <= 300_000 + 100_000  # and the write-ahead log
    assert history.disk()["limit"] == 300_000
    kept = generations(history)
    assert kept == [*range(kept[0], 400)]
    assert 20 < len(kept) < 200
    history.reconfigure(HistorySettings(max_size=100_000))
    history.prune()
    assert len(generations(history)) < len(kept)


def test_only_the_owner_can_read_it(make: Make, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        history = make()
        history.record(at(Starting))
        assert len(generations(history)) == 1
        modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o600}


def test_a_link_is_not_followed(make: Make, tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HistoryError, match="symbolic link"):
        make()
    assert not (tmp_path / "elsewhere").exists()


# ---- what is wrong with the file


def filled(make: Make) -> None:
    history = make()
    for number in range(200):
        history.record(at(Crashed, number, error=AgentCrashed(agent="a", exitcode=number)))
    history.set_drift({"a": {"wanted": False}})
    history.close()


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for start in range(4096 * 3, len(data), 4096):
        data[start : start + 64] = bytes(64)
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": flipped,
    "cut": lambda path: os.truncate(path, 5000),
    "no database": lambda path: path.write_text("hello " * 1000),
    "another program's": lambda path: path.unlink() or _other(path),
    "half a header": lambda path: os.truncate(path, 20),
}


def _other(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (a)")


@pytest.mark.parametrize("harm", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(
    make: Make, tmp_path: Path, caplog: Any, harm: Callable[[Path], object]
) -> None:
    filled(make)
    path = tmp_path / "history.sqlite"
    harm(path)
    with caplog.at_level(logging.WARNING, "procorch"):
        history = make()
    (warning,) = [record.message for record in caplog.records]
    (aside,) = tmp_path.glob("history.sqlite.damaged-*")
    assert "is damaged" in warning
    assert aside.name in warning
    history.record(at(Ready, 7))
    assert generations(history) == [7]
    assert history.drift() in ({}, {"a": {"wanted": False}})


def test_an_empty_file_is_a_new_one(make: Make, tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "history.sqlite").touch(0o644)
    history = make()
    history.record(at(Ready, 7))
    assert generations(history) == [7]
    assert not caplog.records


def test_damage_that_is_found_while_it_runs_costs_what_was_there(
    make: Make, tmp_path: Path, caplog: Any
) -> None:
    history = make()
    for number in range(2000):
        history.record(at(Crashed, number, error=AgentCrashed(agent="a", last_stack="x" * 500)))
    history.set_drift({"a": {"size": 2}})
    history.prune()
    with contextlib.closing(sqlite3.connect(tmp_path / "history.sqlite")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with (tmp_path / "history.sqlite").open("r+b") as file:
        for page in range(3, 400):
            file.seek(page * 4096)
            file.write(b"\xff" * 512)
    rows = history.events(["a"], follow=True)
    with caplog.at_level(logging.WARNING, "procorch"):
        list(history.events(["a"]))
        history.record(at(Ready, 7))
        wait_until(lambda: "is damaged" in caplog.text)
        assert next(row for row in rows if row["type"] == "Ready")["generation"] == 7
    rows.close()
    assert history.drift() == {"a": {"size": 2}}
    history.close()
    assert make().drift() == {"a": {"size": 2}}


def test_a_row_whose_text_is_damaged_is_left_out(make: Make, tmp_path: Path) -> None:
    history = make()
    history.record(at(Ready, 1))
    history.record(at(Ready, 2))
    history.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "history.sqlite")) as connection:
        connection.execute("UPDATE events SET data = '{\"ty' WHERE generation = 1")
        connection.commit()
    assert generations(make()) == [2]


def test_a_file_of_a_newer_version_is_refused_and_untouched(make: Make, tmp_path: Path) -> None:
    filled(make)
    path = tmp_path / "history.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 6}")
    before = path.read_bytes()
    with pytest.raises(HistoryError, match=rf"newer procorch \(version {len(MIGRATIONS) + 6} "):
        make()
    assert path.read_bytes() == before


# ---- a disk that takes nothing


def test_on_a_full_disk_events_wait_and_what_is_lost_is_counted(
    make: Make, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "QUEUE", 50)
    monkeypatch.setattr(history_module, "_RETRY", 0.05)
    monkeypatch.setattr(history_module, "_PATIENCE", 0.05)
    monkeypatch.setattr(history_module, "_GROUP", 10)
    history = make()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with caplog.at_level(logging.INFO, "procorch"):
            for number in range(300):
                history.record(
                    at(Crashed, number, error=AgentCrashed(agent="a", last_stack="x" * 1000))
                )
            history.set_drift({"a": {"size": 2}})
            wait_until(lambda: "cannot be written" in caplog.text)
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            wait_until(lambda: "is written again" in caplog.text)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len([it for it in caplog.records if it.levelno == logging.WARNING]) == 1
    history.record(at(Ready, 1000))
    wait_until(lambda: "Ready" in {event["type"] for event in history.events(["a"])})
    events = list(history.events(["a"]))
    kept = [event["generation"] for event in events if event["type"] == "Crashed"]
    lost = sum(event["count"] for event in events if event["type"] == "Lost")
    assert len(set(kept)) == len(kept)
    assert kept == sorted(kept)
    assert len(kept) + lost == 300
    assert lost > 0
    history.close()
    assert make().drift() == {"a": {"size": 2}}


def test_a_start_on_a_full_disk_is_no_end(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "_RETRY", 0.05)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        history = make()
        history.record(at(Ready, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    wait_until(lambda: history.disk()["bytes"] > 0)
    history.record(at(Ready, 2))
    wait_until(lambda: len(generations(history)) == 2)
    assert generations(history) == [1, 2]
