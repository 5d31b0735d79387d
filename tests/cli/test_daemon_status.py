"""`procorch status`, `describe` and `top` where nobody watches: text, JSON, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from procorch.cli.daemon import form
from tests.cli import fake_core
from tests.cli.conftest import Ended
from tests.cli.fake_core import FakeCore

Call = Callable[..., Ended]

STATUS = """\
procorch 0.1.0, pid 4100, running, up 2d07h, release 2, cpu 42s, memory 70M, /srv/app/procorch.toml

NAME         PID  STATE                                         UPTIME  RESTARTS  LAST-EXIT  QUEUE  CPU  MEMORY  RELEASE  CURRENT
solver            BUSY 2/2                                                     2                 3  25s    2.0G        2
  solver/0  4127  BUSY                                           1h02m         0                    12s    2.0G        1       17
  solver/1  4140  READY                                           4.2s         2  SIGSEGV           12s     50M        1
  critic    4131  READY                                          1h02m         0                 0  12s     50M        1
index             BACKOFF 4/5, next in 12 s: SIGSEGV at f.py:9                 4  SIGSEGV        0                     1
lint*             STOPPED                                                      0                 0

* lint: stopped by hand
"""  # noqa: E501


def test_the_status_is_an_aligned_table(call: Call, daemon: FakeCore) -> None:
    assert call("status") == Ended(0, STATUS, "")


def test_top_prints_the_status_once_where_standard_output_is_no_terminal(
    call: Call, daemon: FakeCore
) -> None:
    assert call("top") == Ended(0, STATUS, "")


def test_the_status_as_json_is_what_the_daemon_says(call: Call, daemon: FakeCore) -> None:
    ended = call("status", "--json")
    assert (ended.code, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == {
        "schema": 1, "daemon": fake_core.DAEMON, "agents": fake_core.AGENTS,
    }  # fmt: skip
    assert len(ended.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (("solver",), ["solver"]),
        (("i*", "lint"), ["index", "lint"]),
        (("workers:*",), ["solver", "critic"]),
    ],
    ids=str,
)
def test_names_patterns_and_groups_choose_agents(
    given: tuple[str, ...], meant: list[str], call: Call, daemon: FakeCore
) -> None:
    assert call("status", *given).code == 0
    assert daemon.calls == [("status", meant)]


def test_a_child_without_its_parent_is_not_indented(call: Call, daemon: FakeCore) -> None:
    line = call("status", "critic").stdout.splitlines()[3]
    assert line.startswith("critic  4131  READY")


def test_check_tells_what_is_not_as_configured(call: Call, daemon: FakeCore) -> None:
    ended = call("status", "--check")
    assert (ended.code, ended.stdout) == (1, STATUS)
    assert ended.stderr.splitlines() == [
        "index: BACKOFF 4/5, next in 12 s: SIGSEGV at f.py:9",
        "lint: stopped by hand",
    ]


def test_check_is_content_with_agents_that_are_as_configured(call: Call, daemon: FakeCore) -> None:
    assert call("status", "--check", "workers:*").code == 0


def test_check_sees_an_instance_that_does_not_run(call: Call, daemon: FakeCore) -> None:
    daemon.agents = [
        fake_core.agent(
            "solver", "READY", fake_core.instance(0, 1, "READY"),
            fake_core.instance(1, None, "BACKOFF"), size=2,
        )
    ]  # fmt: skip
    ended = call("status", "--check")
    assert (ended.code, ended.stderr) == (1, "solver, instance 1: BACKOFF\n")


def test_check_sees_a_daemon_that_is_not_ready(call: Call, daemon: FakeCore) -> None:
    daemon.daemon |= {"ready": False, "state": "starting"}
    ended = call("status", "--check", "critic")
    assert (ended.code, ended.stderr) == (1, "the daemon is not ready: starting\n")
    daemon.daemon["state"] = "running"
    ended = call("status", "--check", "critic")
    assert ended.stderr == "the daemon is not ready: not all agents that are to run are ready\n"


DESCRIPTION = """\
index: BACKOFF 4/5, next in 12 s: SIGSEGV at f.py:9
  restarts   4
  last-exit  SIGSEGV
  queue      0
  release    1

configuration
  place      procorch.toml:7
  kind       agent
  factory    app.agents:index
  secrets
    OPENAI_API_KEY  file:/run/secrets/key
  autostart  true
  settings
    max_restarts  5

last exits
  {moment}  instance 0, generation 4, pid 4135, up 2.5s
      agent 'index' died: SIGSEGV
      SIGSEGV at f.py:9
      | Fatal Python error
      | \\x1b[2Jgone

no events yet
"""


def test_an_agent_is_described(call: Call, daemon: FakeCore) -> None:
    expected = DESCRIPTION.format(moment=form.moment(1_700_000_000.25))
    assert call("describe", "index") == Ended(0, expected, "")
    ended = call("describe", "index", "--json")
    assert json.loads(ended.stdout) == {"schema": 1, **fake_core.DESCRIPTION}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""), (0.04, "0.0s"), (9.96, "10.0s"), (12.9, "12s"), (61, "1m01s"), (3599, "59m59s"),
        (3600, "1h00m"), (90_000, "1d01h"),
    ],
)  # fmt: skip
def test_durations_are_short(seconds: float | None, text: str) -> None:
    assert form.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, ""), (0, "0B"), (1023, "1023B"), (1536, "1.5K"), (10 << 20, "10M"), (5 << 40, "5.0T")],
)
def test_sizes_are_short(count: float | None, text: str) -> None:
    assert form.size(count) == text
