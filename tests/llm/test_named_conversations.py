"""Named conversations of agents of both libraries: one suite for their adapters."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from procorch import (
    AgentCrashed,
    AgentOptions,
    AgentOrchestrator,
    AssistantMessage,
    InvalidContinue,
    ServiceSupervisor,
    ToolResultMessage,
    UserMessage,
)

Orchestrator = Callable[..., AgentOrchestrator]


def shout(text: str) -> str:
    """Say it louder; some words are deadly."""
    if text == "die":
        os.kill(os.getpid(), 9)
    return text.upper()


def of_pydantic_ai() -> AgentOptions:
    """Calls the tool with what the user has said last, and then tells all that was said."""
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel

    def answer(messages: Any, info: Any) -> Any:
        said = [p.content for m in messages for p in m.parts if p.part_kind == "user-prompt"]
        if messages[-1].parts[-1].part_kind == "user-prompt":
            return ModelResponse([ToolCallPart("shout", {"text": said[-1]})])
        heard = [p.content for m in messages for p in m.parts if p.part_kind == "tool-return"]
        return ModelResponse([TextPart(f"{' '.join(said)} / {' '.join(heard)}")])

    return AgentOptions("Shout.", FunctionModel(answer), tools=[shout])


def of_openai_agents() -> AgentOptions:
    """The same."""
    import agents
    from agents.items import ModelResponse
    from agents.models.interface import Model
    from agents.testing import assistant_message, function_call
    from agents.usage import Usage

    agents.set_tracing_disabled(True)

    def text(content: Any) -> str:
        return content if isinstance(content, str) else "".join(each["text"] for each in content)

    class Shouting(Model):
        async def get_response(self, *args: Any, **more: Any) -> Any:
            items = more["input"]
            said = [text(each["content"]) for each in items if each.get("role") == "user"]
            if items[-1].get("role") == "user":
                output: Any = function_call("shout", {"text": said[-1]}, call_id=uuid4().hex)
            else:
                heard = [each["output"] for each in items if "output" in each]
                output = assistant_message(f"{' '.join(said)} / {' '.join(heard)}")
            return ModelResponse(output=[output], usage=Usage(), response_id=None)

        def stream_response(self, *args: Any, **more: Any) -> Any:
            raise NotImplementedError

    return AgentOptions("Shout.", Shouting(), tools=[shout])


@pytest.mark.parametrize("factory", [of_pydantic_ai, of_openai_agents])
def test_conversations_of_a_library_are_kept(
    orchestrator: Orchestrator, tmp_path: Path, factory: Callable[[], AgentOptions]
) -> None:
    store = tmp_path / "chats.db"
    orch = orchestrator(supervisor=ServiceSupervisor(), conversations=store)
    orch.add_agent("chat", factory)
    ann = orch.spawn("chat", conversation="ann")
    bob = ann.conversation("bob")
    assert ann.send_message("a").text == "a / A"
    assert bob.send_message("b").text == "b / B"
    assert ann.send_message("c").text == "a c / A C"
    with pytest.raises(AgentCrashed):
        ann.send_message("die")
    assert ann.send_message("d").text == "a c d / A C D"
    talk = ann.conversation("ann")
    assert [type(each) for each in talk.read()] == [
        UserMessage, AssistantMessage, ToolResultMessage, AssistantMessage,
    ] * 3  # fmt: skip
    assert talk.trim(2) == 1
    fork = talk.fork("fork")
    assert ann.send_message("e").text == "c d e / C D E"
    assert fork.send_message("f").text == "c d f / C D F"
    seeded = ann.conversation("seeded")
    seeded.seed(talk.read())  # what one library has said goes on with any other
    assert seeded.send_message("g").text == "c d e g / C D E G"
    orch.close()
    other = orchestrator(conversations=store)
    other.add_agent("chat", factory)
    assert other.spawn("chat", conversation="seeded").send_message("h").text == (
        "c d e g h / C D E G H"
    )


@pytest.mark.parametrize("factory", [of_pydantic_ai, of_openai_agents])
def test_a_call_that_waits_for_approval_is_kept_with_its_conversation(
    orchestrator: Orchestrator, tmp_path: Path, factory: Callable[[], AgentOptions]
) -> None:
    def asking() -> AgentOptions:
        return replace(factory(), approval=["shout"])

    orch = orchestrator(supervisor=ServiceSupervisor(), conversations=tmp_path / "chats.db")
    orch.add_agent("chat", asking)
    agent = orch.spawn("chat")
    ann, bob = agent.conversation("ann"), agent.conversation("bob")
    paused = ann.send_message("a")
    assert [call.name for call in paused.pending] == ["shout"]
    assert bob.send_message("b").pending
    agent.restart()
    done = ann.resume(paused, {paused.pending[0].id: True})
    assert done.text == "a / A"
    with pytest.raises(InvalidContinue):
        ann.resume(paused, {paused.pending[0].id: True})
    kinds = [UserMessage, AssistantMessage, ToolResultMessage, AssistantMessage]
    assert [type(each) for each in ann.read()] == kinds
    assert ann.send_message("c").pending
