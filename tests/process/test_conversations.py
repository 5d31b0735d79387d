"""Named conversations on real processes: what is kept, in which order, and through which deaths."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    Aborted,
    AgentCrashed,
    AgentFailure,
    AgentOptions,
    AgentOrchestrator,
    AssistantMessage,
    Conversation,
    ConversationError,
    ConversationExists,
    ConversationStoreBusy,
    ConversationStoreDamaged,
    ConversationStoreError,
    ConversationStoreMismatch,
    CustomMessage,
    MessageTooLarge,
    NoMessages,
    RequestCancelled,
    RequestDone,
    RequestTimeout,
    ServiceSupervisor,
    UnknownConversation,
    UserMessage,
    current,
)
from tests.process.conftest import PATIENCE, Gate

Orchestrator = Callable[..., AgentOrchestrator]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "chats.db"


@pytest.fixture
def keeping(orchestrator: Orchestrator, store: Path) -> Orchestrator:
    """An orchestrator that keeps conversations."""

    def make(**settings: Any) -> AgentOrchestrator:
        return orchestrator(supervisor=ServiceSupervisor(), conversations=store, **settings)

    return make


def echo() -> AgentOptions:
    """Answers with all that it was told, and dies or fails where it is told to."""

    def turn(context: Any) -> Any:
        told = [each.text for each in context.messages if isinstance(each, UserMessage)]
        if told[-1] == "die":
            os.kill(os.getpid(), 9)
        if told[-1] == "fail":
            raise ValueError("no")
        yield " ".join(told)

    return AgentOptions(stream_fn=turn)


def texts(conversation: Conversation) -> list[str]:
    return [each.text for each in conversation.read() if not isinstance(each, CustomMessage)]


def test_conversations_are_kept_apart_and_outlive_worker_and_orchestrator(
    keeping: Orchestrator, store: Path
) -> None:
    orch = keeping()
    orch.add_agent("chat", echo)
    ann = orch.spawn("chat", conversation="ann")
    bob = ann.conversation("bob")
    assert ann.send_message("a").text == "a"
    assert bob.send_message("b").text == "b"
    assert ann.send_message("c").text == "a c"
    with pytest.raises(AgentCrashed):
        ann.send_message("die")
    with pytest.raises(AgentFailure):
        bob.send_message("fail")
    assert ann.send_message("d").text == "a c d"  # what has failed was not said
    with bob.stream("e") as pieces:
        assert list(pieces) == ["b e"]
    assert asyncio.run(_awaited(bob, "f")) == "b e f"
    orch.close()
    other = keeping()
    other.add_agent("chat", echo)
    ann = other.spawn("chat", conversation="ann")
    assert ann.send_message("g").text == "a c d g"
    assert store.stat().st_mode & 0o777 == 0o600
    infos = other.conversations()
    assert [(each.name, each.turns, each.messages) for each in infos] == [
        ("ann", 4, 8),
        ("bob", 3, 6),
    ]


async def _awaited(conversation: Conversation, text: str) -> str:
    return (await conversation.submit(text)).text


def test_an_answer_is_given_when_it_is_stored(keeping: Orchestrator, store: Path) -> None:
    orch = keeping()
    orch.add_agent("chat", echo)
    chat = orch.spawn("chat").conversation("ann")
    chat.send_message("a")
    events = orch.monitor("chat")
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody else can write meanwhile
        answer = chat.submit("b")
        assert any(isinstance(event, RequestDone) for event in events)
        assert not answer.cancel()  # it has its answer
        assert not answer.done()
        other.execute("COMMIT")
    assert answer.result(PATIENCE).text == "a b"
    assert texts(chat) == ["a", "a", "b", "a b"]


def test_a_conversation_has_one_request_at_a_time_and_others_run_meanwhile(
    keeping: Orchestrator, gate: Callable[[], Gate]
) -> None:
    told, door = gate(), gate()
    tell, wait = told.tell, door.wait

    def waiting() -> Any:
        def handle(messages: Any) -> str:
            tell(messages[-1].text)
            if messages[-1].text.startswith("wait"):
                wait()
            return "done"

        return handle

    orch = keeping()
    orch.add_agent("chat", waiting, instances=2)
    agent = orch.spawn("chat")
    ann, bob = agent.conversation("ann"), agent.conversation("bob")
    first, second = ann.submit("wait"), ann.submit("second")
    dropped = ann.submit("dropped")
    assert told.line() == "wait"
    assert bob.send_message("bob").text == "done"
    assert told.line() == "bob"
    assert dropped.cancel()
    with pytest.raises(RequestCancelled) as cancelled:
        dropped.result(PATIENCE)
    late = ann.submit("late", timeout=0.05)
    with pytest.raises(RequestTimeout) as timeout:
        late.result(PATIENCE)
    assert not cancelled.value.may_have_executed
    assert not timeout.value.may_have_executed
    assert not second.done()
    assert told.told() == []
    change = ann.trim_async(1)
    door.open()
    assert [first.result(PATIENCE).text, second.result(PATIENCE).text] == ["done", "done"]
    assert told.line() == "second"
    assert asyncio.run(change) == 1
    assert texts(ann) == ["second", "done"]


def test_a_conversation_is_seeded_trimmed_forked_and_forgotten(
    keeping: Orchestrator,
) -> None:
    orch = keeping()
    orch.add_agent("chat", echo)
    agent = orch.spawn("chat")
    ann = agent.conversation("ann")
    ann.seed(["a", AssistantMessage("b")])
    assert ann.send_message("c").text == "a c"
    with pytest.raises(ConversationExists, match="'ann'"):
        ann.seed(["x"])
    with pytest.raises(NoMessages):
        agent.conversation("empty").seed([])
    with pytest.raises(TypeError, match="int is no message"):
        agent.conversation("odd").seed([1])  # type: ignore[list-item]
    fork = ann.fork("fork")
    assert (fork.name, fork.agent) == ("fork", "chat")
    assert ann.trim(1) == 1
    assert ann.send_message("d").text == "c d"
    assert fork.send_message("e").text == "a c e"
    with pytest.raises(ConversationExists):
        ann.fork("fork")
    with pytest.raises(ValueError, match="turns"):
        ann.trim(0)
    ann.forget()
    for refused in (ann.read, ann.forget, lambda: ann.trim(1), lambda: ann.fork("x")):
        with pytest.raises(UnknownConversation, match="agent 'chat' has no conversation 'ann'"):
            refused()
    assert ann.send_message("f").text == "f"


def test_all_of_that_can_be_awaited(keeping: Orchestrator) -> None:
    async def main() -> None:
        orch = keeping()
        orch.add_agent("chat", echo)
        ann = orch.spawn("chat").conversation("ann")
        await ann.seed_async(["a"])
        assert (await ann.submit("b")).text == "a b"
        fork = await ann.fork_async("fork")
        assert await ann.trim_async(1) == 1
        assert [type(each) for each in await ann.read_async()] == [UserMessage, AssistantMessage]
        await ann.forget_async()
        assert [each.name for each in await orch.conversations_async()] == ["fork"]
        assert len(await fork.read_async()) == 3
        await orch.aclose()

    asyncio.run(main())


def test_what_was_forgotten_is_not_in_the_file(keeping: Orchestrator, store: Path) -> None:
    orch = keeping()
    orch.add_agent("chat", echo)
    ann = orch.spawn("chat").conversation("ann")
    ann.send_message("a secret of ann")
    ann.forget()
    files = [each.read_bytes() for each in store.parent.glob("chats.db*")]
    assert not any(b"a secret of ann" in content for content in files)


class Counter:
    """Saves itself."""

    def __init__(self) -> None:
        self.count = 0

    async def load(self, state: Any) -> None:
        self.count = state or 0

    def save(self) -> int:
        return self.count

    def handle(self, message: Any) -> Any:
        self.count += 1
        return {"count": self.count, "name": current().conversation}


def noting() -> Any:
    """Keeps what it is told by way of checkpoints, but for "no"."""

    def handle(messages: Any) -> str:
        word = messages[-1].text
        known = current().restored or ""
        if word != "no":
            current().checkpoint(known + word)
        return known

    return handle


def test_agents_without_a_model_keep_their_state_by_load_and_save_or_by_checkpoints(
    keeping: Orchestrator,
) -> None:
    orch = keeping()
    orch.add_agent("counter", Counter)
    orch.add_agent("noting", noting)
    counter, noted = orch.spawn("counter"), orch.spawn("noting").conversation("n")
    ann, bob = counter.conversation("ann"), counter.conversation("bob")
    counts = [each.submit({"x": 1}).result().output["count"] for each in (ann, bob, ann, ann)]
    assert counts == [1, 1, 2, 3]
    ann.trim(1)  # of what was said: its state is no part of that
    assert ann.submit({"x": 2}).result().output == {"count": 4, "name": "ann"}
    assert [each.data for each in ann.read() if isinstance(each, CustomMessage)][2:] == [
        {"x": 2},
        {"count": 4, "name": "ann"},
    ]
    assert [noted.send_message(word).text for word in ("a", "b", "no", "no")] == [
        "",
        "a",
        "ab",
        "ab",
    ]
    noted.trim(1)
    assert noted.send_message("c").text == "ab"
    counter.stop()
    orch.configure("counter", noting)
    ann = orch.spawn("counter").conversation("ann")
    with pytest.raises(ConversationError, match="was kept by load and save, and this agent has"):
        ann.send_message("x")


_TALK = """
from procorch import AgentOptions, AgentOrchestrator

def chat():
    def turn(context):
        yield str(len(context.messages))
    return AgentOptions(stream_fn=turn)

if __name__ == "__main__":
    with AgentOrchestrator(conversations="chats.db") as orch:
        orch.add_agent("chat", chat)
        talk = orch.spawn("chat", conversation="ann")
        while True:
            print(talk.send_message("hi").text, flush=True)
"""


def test_a_kill_of_the_program_loses_no_answer_that_was_given(
    keeping: Orchestrator, host: Callable[..., subprocess.Popen[str]]
) -> None:
    """While it lives, its file is its own."""
    program = host(_TALK)
    assert program.stdout is not None
    given = [program.stdout.readline().strip() for _ in range(5)]
    orch = keeping()
    orch.add_agent("chat", echo)
    with pytest.raises(ConversationStoreBusy, match=f"is being written by process {program.pid} "):
        orch.spawn("chat", conversation="ann")
    assert orch.handle("chat") is None  # nothing was started
    program.kill()
    program.wait()
    given += program.stdout.read().split()
    said = texts(orch.spawn("chat").conversation("ann"))
    assert given == [str(1 + 2 * n) for n in range(len(given))]
    assert said[1::2][: len(given)] == given
    assert len(said) in (2 * len(given), 2 * len(given) + 2)  # one may have been on its way


def test_a_file_that_cannot_be_used_is_refused_by_name(
    orchestrator: Orchestrator, tmp_path: Path, store: Path
) -> None:
    def refusal(path: Path, error: type[ConversationStoreError], text: str) -> None:
        orch = orchestrator(conversations=path)
        orch.add_agent("chat", echo)
        with pytest.raises(error, match=text):
            orch.spawn("chat").conversation("ann")
        orch.close()

    other = tmp_path / "other.db"
    other.write_bytes(b"no database at all, but long enough to be taken for one" * 20)
    refusal(other, ConversationStoreMismatch, "is not a store of conversations")
    refusal(tmp_path / "no" / "x.db", ConversationStoreError, "there is no folder")
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.executescript(f"CREATE TABLE x (y); PRAGMA application_id = {0x70726376};"
                        "PRAGMA user_version = 99;")  # fmt: skip
    newer.close()
    refusal(tmp_path / "newer.db", ConversationStoreMismatch, "written by a newer procorch")
    orch = orchestrator()
    orch.add_agent("chat", echo)
    with pytest.raises(ValueError, match=r"conversations need AgentOrchestrator\(conversations="):
        orch.spawn("chat", conversation="ann")
    with pytest.raises(ValueError, match="is no name of a conversation"):
        orch.spawn("chat", conversation="")


def test_a_damaged_turn_is_told_and_others_go_on(keeping: Orchestrator, store: Path) -> None:
    orch = keeping()
    orch.add_agent("chat", echo)
    agent = orch.spawn("chat")
    ann, bob = agent.conversation("ann"), agent.conversation("bob")
    ann.send_message("a")
    bob.send_message("b")
    with sqlite3.connect(store) as other:
        other.execute("UPDATE states SET data = data || x'00' WHERE conversation = 1")
        other.execute("UPDATE turns SET messages = messages || x'00' WHERE conversation = 1")
    other.close()
    text = "of conversation 'ann' of agent 'chat' is not what was written"
    with pytest.raises(ConversationStoreDamaged, match=text):
        ann.send_message("c")
    with pytest.raises(ConversationStoreDamaged, match=text):
        ann.read()
    assert bob.send_message("d").text == "b d"
    ann.forget()
    assert ann.send_message("e").text == "e"


def test_a_full_disk_fails_the_turn_and_leaves_the_conversation(
    keeping: Orchestrator,
) -> None:
    orch = keeping(max_message="4M")
    orch.add_agent("chat", echo)
    ann = orch.spawn("chat", conversation="ann")
    ann.send_message("a")
    keeper = orch.keeper()
    keeper.read(lambda file: file.connection.execute("PRAGMA max_page_count = 60")).result()
    with pytest.raises(ConversationStoreError, match="no room on the disk") as full:
        ann.send_message("b" * 300_000)
    assert full.value.may_have_executed
    assert (full.value.agent, full.value.conversation) == ("chat", "ann")
    keeper.read(lambda file: file.connection.execute("PRAGMA max_page_count = 9999")).result()
    assert ann.send_message("c").text == "a c"
    sent = [ann.submit("d" * 300_000) for _ in range(5)]
    large = [each.exception(PATIENCE) for each in sent][-1]
    assert isinstance(large, MessageTooLarge)
    assert "conversation 'ann' (trim() shortens it)" in str(large)


@pytest.mark.parametrize("drain", [True, False])
def test_closing_finishes_turns_that_wait_or_aborts_them(
    keeping: Orchestrator, gate: Callable[[], Gate], store: Path, drain: bool
) -> None:
    told, door = gate(), gate()
    tell, wait = told.tell, door.wait

    def waiting() -> Any:
        def handle(messages: Any) -> str:
            tell()
            wait()
            return "done"

        return handle

    orch = keeping()
    orch.add_agent("chat", waiting)
    ann = orch.spawn("chat", conversation="ann")
    other, answers = ann.conversation("bob"), [ann.submit(str(n)) for n in range(3)]
    told.line()
    if drain:
        door.open(3)
    orch.close(drain=drain)
    ends = [answer.exception(PATIENCE) for answer in answers]
    assert all(end is None if drain else isinstance(end, Aborted) for end in ends)
    with pytest.raises(Aborted, match="closed"):
        other.read()
