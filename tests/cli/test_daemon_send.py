"""`procorch send`: what is sent, and what is printed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentStopped
from procorch.errors.plain_data import to_plain
from tests.cli import fake_core
from tests.cli.conftest import COMMAND, LIMIT, Ended, environment
from tests.cli.fake_core import FakeCore

Call = Callable[..., Ended]


def test_the_text_of_the_answer_is_printed(call: Call, daemon: FakeCore) -> None:
    assert call("send", "solver", "six times seven", "--timeout", "5s") == Ended(0, "42\n", "")
    assert daemon.calls == [("send", "solver", "six times seven", 5.0)]


@pytest.mark.parametrize(
    "arguments",
    [("--output", "json"), ("--json",), ("--json", "--wait")],
    ids=" ".join,
)
def test_json_without_a_value_is_about_what_is_printed(
    arguments: tuple[str, ...], call: Call, daemon: FakeCore
) -> None:
    ended = call("send", "solver", "hello", *arguments)
    assert json.loads(ended.stdout) == {"schema": 1, **fake_core.ANSWER}
    assert daemon.calls == [("send", "solver", "hello", None)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--json", '{"path": "a b.py"}'), {"path": "a b.py"}),
        (("@text.txt",), "from a\nfile"),
        (("@@home",), "@home"),
        (("--json", "@data.json"), [1, None]),
        (("--json", "[2]", "--json"), [2]),
    ],
    ids=str,
)
def test_what_is_sent(
    arguments: tuple[str, ...], message: Any, call: Call, daemon: FakeCore, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("from a\nfile")
    (tmp_path / "data.json").write_text("[1, null]")
    assert call("send", "solver", *arguments).code == 0
    assert daemon.calls == [("send", "solver", message, None)]


def test_standard_input_may_be_sent(daemon: FakeCore) -> None:
    done = subprocess.run(
        [*COMMAND, "send", "solver", "@-"], input="piped", capture_output=True, text=True,
        timeout=LIMIT, env=environment({}),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")
    assert daemon.calls == [("send", "solver", "piped", None)]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "one message is needed, none is given"),
        (("--json",), "one message is needed, none is given"),
        (("hello", "--json", "[1]"), "one message is needed, two are given"),
        (("--json", "solver", "hello"), "'solver' was taken as the value of --json"),
        (("--json", "{"), "--json is not JSON"),
        (("--json", "@missing"), "missing: No such file or directory"),
        (("@binary",), "binary is not text in UTF-8"),
        (("hello", "--no-wait"), "--no-wait is not there yet"),
        (("hello", "--stream", "--json"), "leave out JSON as output"),
    ],
    ids=str,
)
def test_what_cannot_be_sent_is_refused(
    arguments: tuple[str, ...], complaint: str, call: Call, daemon: FakeCore, tmp_path: Path
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    ended = call("send", "solver", *arguments)
    assert (ended.code, ended.stdout, daemon.calls) == (2, "", [])
    assert complaint in ended.stderr


def test_a_request_that_failed_is_an_error(call: Call, daemon: FakeCore) -> None:
    daemon.answer = fake_core.crashed()
    ended = call("send", "solver", "hello")
    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Error: AgentCrashed: agent 'solver' ")
    ended = call("send", "solver", "hello", "--json")
    assert (ended.code, json.loads(ended.stdout)["state"]) == (1, "failed")


def test_why_an_agent_takes_no_request_is_said_once(call: Call, daemon: FakeCore) -> None:
    error = AgentStopped("agent 'solver' does not run: it is stopped", agent="solver")
    daemon.answer = fake_core.crashed() | {"id": None, "error": to_plain(error)}
    assert call("send", "solver", "hello") == Ended(
        1, "", "Error: AgentStopped: agent 'solver' does not run: it is stopped\n"
    )


def test_what_is_no_text_is_printed_as_json(call: Call, daemon: FakeCore) -> None:
    daemon.answer |= {"text": "", "output": {"answer": "zweiundvierzig"}}
    assert call("send", "solver", "hello").stdout == '{"answer": "zweiundvierzig"}\n'


def test_an_answer_is_printed_while_it_comes(call: Call, daemon: FakeCore) -> None:
    assert call("send", "solver", "hello", "--stream") == Ended(0, "42\n", "")
    daemon.answer = fake_core.crashed()
    ended = call("send", "solver", "hello", "--stream")
    assert (ended.code, ended.stdout) == (1, "42\n"), "what had come of it"
    assert ended.stderr.startswith("Error: AgentCrashed: ")
