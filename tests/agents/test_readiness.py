"""What a check of readiness may be, before any program is started."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from procorch import AgentOrchestrator, ReadyCheck, command


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({}, ValueError, "exactly one of port, http, line and after, not none of them"),
        ({"port": 80, "line": "up"}, ValueError, "exactly one .* not port and line"),
        ({"host": "localhost"}, ValueError, "exactly one"),
        ({"line": "up", "host": "localhost"}, ValueError, "host goes with port"),
        ({"port": 0}, ValueError, "from 1 to 65535, not 0"),
        ({"port": 65536}, ValueError, "from 1 to 65535, not 65536"),
        ({"port": "80"}, TypeError, "whole number, not str"),
        ({"port": True}, TypeError, "whole number, not bool"),
        ({"port": 80, "host": ""}, ValueError, "a name or an address"),
        ({"port": 80, "host": "a b"}, ValueError, "a name or an address"),
        ({"port": 80, "host": "a..b"}, ValueError, "a name or an address"),
        ({"port": 80, "host": 1}, TypeError, "host must be text"),
        ({"http": "127.0.0.1:8000"}, ValueError, "must be a URL such as"),
        ({"http": "ftp://127.0.0.1/"}, ValueError, "must be a URL such as"),
        ({"http": "http:///health"}, ValueError, "must be a URL such as"),
        ({"http": "http://127.0.0.1:http/"}, ValueError, "must be a URL such as"),
        ({"http": "http://127.0.0.1:0/"}, ValueError, "must be a URL such as"),
        ({"http": "http://[::1/"}, ValueError, "must be a URL such as"),
        ({"http": "http://me:pw@127.0.0.1/"}, ValueError, "without a user and a password"),
        ({"http": "http://127.0.0.1/a b"}, ValueError, "has to quote"),
        ({"http": "http://a..b/"}, ValueError, "a name or an address"),
        ({"http": 80}, TypeError, "must be a URL, not int"),
        ({"line": "("}, ValueError, "no regular expression"),
        ({"line": b"up"}, TypeError, "must be text"),
        ({"after": -1}, ValueError, "must not be negative"),
        ({"after": "soon"}, ValueError, "not a duration"),
        ({"after": True}, TypeError, "must be a duration"),
    ],
)
def test_a_check_that_cannot_be_made_is_refused(
    given: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        ReadyCheck(**given)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (ReadyCheck(port=7001), "port 7001 of 127.0.0.1 accepts connections"),
        (ReadyCheck(port=7001, host="::1"), "port 7001 of ::1 accepts connections"),
        (ReadyCheck(http="https://[::1]:8443/up?x=1"), "GET https://.* a status below 400"),
        (ReadyCheck(line="up$"), "a line of its output matches 'up"),
        (ReadyCheck(after="1.5s"), "it has run for 1.5 s"),
    ],
)
def test_a_check_says_what_it_waits_for(check: ReadyCheck, words: str) -> None:
    import re

    assert re.search(words, str(check))
    assert pickle.loads(pickle.dumps(check)) == check


def test_only_a_program_that_is_kept_alive_has_a_check() -> None:
    orch = AgentOrchestrator()
    with pytest.raises(ValueError, match=r"agent 'cat': ready= is for .*add_service"):
        orch.add_agent("cat", command(["cat"], ready=ReadyCheck(line="up")))
    assert orch.names() == []
    orch.add_agent("cat", command(["cat"]))
    with pytest.raises(ValueError, match="agent 'cat': ready= is for"):
        orch.configure("cat", command(["cat"], ready=ReadyCheck(line="up")))
    with pytest.raises(TypeError, match=r"ReadyCheck\(...\), not str"):
        command(["cat"], ready="up")  # type: ignore[call-overload]
