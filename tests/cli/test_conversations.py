"""``procorch conversations`` on a store that another program keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from procorch import AgentOrchestrator
from tests.cli.conftest import Ended


def factory() -> Callable[[object], str]:
    return lambda messages: "hello"


def test_conversations_are_listed_printed_and_forgotten(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    store = str(tmp_path / "chats.db")
    with AgentOrchestrator(conversations=store) as orch:
        orch.add_agent("chat", factory)
        talk = orch.spawn("chat", conversation="ann")
        talk.send_message("hi")
        talk.conversation("bob").send_message("ho")
        lines = run("conversations", store, "--json").stdout.splitlines()
        listed = [json.loads(line) for line in lines]
        assert [(each["agent"], each["name"], each["turns"]) for each in listed] == [
            ("chat", "bob", 1),
            ("chat", "ann", 1),
        ]
        busy = run("conversations", store, "ann", "--forget")
        assert busy.code == 2
        assert "is being written by process" in busy.stderr
    assert run("conversations", store, "ann").stdout == "user: hi\nassistant: hello\n"
    shown = json.loads(run("conversations", store, "bob", "--json").stdout)
    assert [(each["role"], each["content"]) for each in shown["messages"]] == [
        ("user", [{"text": "ho"}]),
        ("assistant", [{"text": "hello"}]),
    ]
    assert run("conversations", store, "ann", "--forget").code == 0
    gone = run("conversations", store, "ann")
    assert gone.code == 4
    assert "there is no conversation 'ann'" in gone.stderr
    assert "bob" in run("conversations", store).stdout
