"""Agents of openai-agents under procorch, on the library's scripted model."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import agents
import pytest
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call

from procorch import (
    AgentCrashed,
    AgentOptions,
    AgentResult,
    AssistantMessage,
    DefaultSupervisor,
    ExtensionBlock,
    ImageBlock,
    InvalidContinue,
    ModelThrottled,
    NoMessages,
    OrchestratedHandle,
    StartError,
    StreamError,
    TextBlock,
    ToolCallBlock,
    ToolResultMessage,
    Usage,
    UserMessage,
)
from procorch.agents.adapters.error_map import service_error
from procorch.agents.adapters.openai_items import from_items, to_items
from procorch.agents.agent import Agent, as_agent
from procorch.agents.context import enter
from tests.llm.server import Provider

Start = Callable[..., OrchestratedHandle]


@pytest.fixture(autouse=True)
def untraced() -> Iterator[None]:
    """The library sends traces to its maker."""
    agents.set_tracing_disabled(True)
    yield
    agents.set_tracing_disabled(False)


def ask(agent: Agent, payload: Any = "hi") -> AgentResult:
    async def main() -> Any:
        return await agent.respond(payload)

    result = asyncio.run(main())
    assert isinstance(result, AgentResult)
    return result


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def adding() -> ScriptedModel:
    call = function_call("add", {"a": 2, "b": 3}, call_id="c1")
    return ScriptedModel([[assistant_message("let me see"), call], [assistant_message("five")]])


def test_tools_are_called_and_everything_is_told_in_the_result() -> None:
    model = adding()
    result = ask(as_agent(AgentOptions("be brief", model, tools=[add])), "2 + 3?")
    call, returned, answer = result.messages
    assert isinstance(call, AssistantMessage)
    assert call.content == (
        TextBlock("let me see"),
        ToolCallBlock("c1", "add", {"a": 2, "b": 3}),
    )
    assert isinstance(returned, ToolResultMessage)
    assert (returned.tool_call_id, returned.text) == ("c1", "5")
    assert (result.output, answer.text) == ("five", "five")  # type: ignore[union-attr]
    assert model.calls[0].system_instructions == "be brief"


def critic() -> Agent:
    def turn(context: Any) -> Any:
        yield "five?"
        yield Usage(input=1000, output=500)

    return as_agent(AgentOptions(stream_fn=turn))


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_what_an_agent_inside_a_tool_has_used_is_part_of_the_answer(kind: str) -> None:
    """So is what a tool has asked of other processes; it goes the same way."""

    def add(a: int, b: int) -> str:
        enter(AgentResult(usage=Usage(input=1000, output=500)))
        return "five"

    async def add_async(a: int, b: int) -> str:
        await critic().respond("well?")
        return "five"

    add_async.__name__ = "add"
    tool = add if kind == "plain" else add_async
    result = ask(as_agent(AgentOptions(model=adding(), tools=[tool])), "2 + 3?")
    own = sum((m.usage for m in result.messages if isinstance(m, AssistantMessage)), Usage())
    assert result.usage == own + Usage(input=1000, output=500)


def test_the_conversation_goes_on() -> None:
    model = ScriptedModel([[assistant_message("one")], [assistant_message("two")]])
    agent = as_agent(agents.Agent("a", model=model))
    ask(agent, "first")
    ask(agent, [UserMessage(["look", ImageBlock(b"x")])])
    assert [type(m) for m in agent.messages] == [UserMessage, AssistantMessage] * 2
    assert from_items(model.calls[1].input)[0].text == "first"  # type: ignore[union-attr, arg-type]


def test_without_history_every_request_begins_anew() -> None:
    model = ScriptedModel([[assistant_message("one")], [assistant_message("two")]])
    agent = as_agent(AgentOptions(model=model, keep_history=False))
    for _ in range(2):
        ask(agent, "hm?")
        assert len(agent.messages) == 2


def test_a_conversation_comes_back_as_it_was() -> None:
    conversation = [
        UserMessage(["look", ImageBlock(b"\x89PNG"), ImageBlock("https://x/y.png")]),
        AssistantMessage(["a moment", ToolCallBlock("c1", "add", {"a": 1})]),
        ToolResultMessage("c1", "5"),
        AssistantMessage(
            [ExtensionBlock("reasoning", {"type": "reasoning", "summary": []}), TextBlock("so")]
        ),
    ]
    back = from_items(to_items(conversation))
    assert [m.content for m in back] == [m.content for m in conversation]  # type: ignore[union-attr]


def test_a_request_that_cannot_be_continued_is_refused() -> None:
    agent = as_agent(AgentOptions(model=adding()))
    with pytest.raises(InvalidContinue):
        ask(agent, [AssistantMessage("me")])
    with pytest.raises(NoMessages):
        ask(agent, [])


def test_too_many_turns_are_no_answer() -> None:
    agent = as_agent(AgentOptions(model=adding(), tools=[add], max_turns=1))
    with pytest.raises(agents.MaxTurnsExceeded) as caught:
        ask(agent)
    assert isinstance(service_error(caught.value), StreamError)
    assert agent.messages == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (AgentOptions(model=adding(), usage_limits={"x": 1}), "no usage_limits"),
        (AgentOptions("x", agents.Agent("a")), "system_prompt belongs to the agent"),
        (AgentOptions(model=agents.ModelSettings()), "no model of openai-agents"),
    ],
)
def test_options_that_cannot_work_are_refused_for_good(options: AgentOptions, words: str) -> None:
    with pytest.raises(StartError, match=words) as caught:
        as_agent(options)
    assert caught.value.permanent


def service(url: str) -> Any:
    import openai

    client = openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0)
    return agents.OpenAIChatCompletionsModel(model="gpt-4o", openai_client=client)


def test_an_agent_in_its_own_process_answers_and_fails_by_name(
    start: Start, provider: Provider
) -> None:
    good, bad = provider.url("ok"), provider.url("throttled")

    def factory() -> Any:
        agents.set_tracing_disabled(True)
        return agents.Agent("a", model=service(good))

    result = start(factory).send_message("hi")
    assert (result.text, result.usage) == ("fine", Usage(11, 7))

    def throttled() -> Any:
        agents.set_tracing_disabled(True)
        return agents.Agent("a", model=service(bad))

    with pytest.raises(ModelThrottled) as caught:
        start(throttled).send_message("hi")
    assert caught.value.retry_after == 1.0


def test_an_answer_is_read_while_it_comes(start: Start) -> None:
    def factory() -> AgentOptions:
        agents.set_tracing_disabled(True)
        return AgentOptions(model=adding(), tools=[add])

    with start(factory).stream("2 + 3?") as answer:
        assert "".join(answer) == "let me seefive"
    assert answer.result().output == "five"


def test_a_conversation_survives_the_death_of_its_process(start: Start) -> None:
    def factory() -> AgentOptions:
        agents.set_tracing_disabled(True)

        def answer(call: Any) -> Any:
            said = [m.text for m in from_items(call.input)]  # type: ignore[union-attr]
            if said[-1] == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            return [assistant_message(" | ".join(said))]

        model = ScriptedModel([ModelStep.respond(answer), ModelStep.respond(answer)])
        return AgentOptions(model=model, checkpoint=True)

    agent = start(factory, supervisor=DefaultSupervisor())
    agent.send_message("my name is Ada")
    with pytest.raises(AgentCrashed, match="SIGKILL"):
        agent.send_message("die")
    answer = agent.send_message("who am I?")
    assert answer.text == "my name is Ada | my name is Ada | who am I?"
