"""A service of 50 chats whose workers die and whose provider fails: no chat loses anything."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from procorch import (
    AgentCrashed,
    AgentError,
    AgentOptions,
    AgentOrchestrator,
    Conversation,
    ModelThrottled,
    ServiceSupervisor,
    StreamError,
    UserMessage,
)
from tests.llm.server import Provider
from tests.process.conftest import PATIENCE

CHATS, TURNS, TRIES = 50, 2, 8
FAULTS = ["kill"] * 20 + ["throttle"] * 10 + ["garble"] * 5


def words(chat: int) -> list[str]:
    """What the user of a chat says; the word behind the hyphen is what happens at it first."""
    faults = dict(zip(range(0, CHATS * TURNS, 2), FAULTS, strict=False))
    numbers = range(chat, CHATS * TURNS, CHATS)
    return [f"c{chat}.{turn}-{faults.get(n, 'ok')}" for turn, n in enumerate(numbers)]


@pytest.mark.timeout(240)  # some seconds where nothing else runs
def test_no_chat_is_lost_and_no_answer_is_in_the_conversation_of_another(
    orchestrator: Callable[..., AgentOrchestrator], provider: Provider, tmp_path: Path
) -> None:
    url, store = provider.url("chats"), tmp_path / "chats.db"

    def factory() -> AgentOptions:
        from openai import AsyncOpenAI
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        pid = {"x-pid": str(os.getpid())}
        client = AsyncOpenAI(base_url=url, api_key="k", max_retries=0, default_headers=pid)
        model = OpenAIChatModel("m", provider=OpenAIProvider(openai_client=client))
        return AgentOptions(model=model)

    orch = orchestrator(
        supervisor=ServiceSupervisor(max_restarts=20),
        preload=["pydantic_ai.models.openai"],
        start_method="zygote",
        conversations=store,
        channel_buffer=CHATS,
    )
    orch.add_agent("chat", factory, instances=2)
    agent = orch.spawn("chat")
    chats = [agent.conversation(f"chat-{n}") for n in range(CHATS)]
    left = {chat: words(n) for n, chat in enumerate(chats)}
    said: dict[Conversation, list[str]] = {chat: [] for chat in chats}
    seen: Counter[type[AgentError]] = Counter()
    for _ in range(TURNS * TRIES):
        sent = {chat: chat.submit(left[chat][0], timeout=PATIENCE) for chat in chats if left[chat]}
        for chat, answer in sent.items():
            error = answer.exception()
            if error is None:
                said[chat].append(left[chat].pop(0))
                assert answer.result().text == " ".join(said[chat])
            else:
                assert isinstance(error, AgentError)
                seen[type(error)] += 1
        if not any(left.values()):
            break
    assert not any(left.values())
    assert seen == {AgentCrashed: 20, ModelThrottled: 10, StreamError: 5}
    orch.close()
    other = orchestrator(conversations=store)
    other.add_agent("chat", factory)
    agent = other.spawn("chat")
    for n in range(CHATS):
        kept = agent.conversation(f"chat-{n}").read()
        asked = [each.text for each in kept if isinstance(each, UserMessage)]
        assert asked == words(n)
        assert len(kept) == 2 * TURNS
