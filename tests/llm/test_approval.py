"""Calls of tools that wait for somebody's approval, with both libraries."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentOptions,
    AgentOrchestrator,
    AgentResult,
    InvalidContinue,
    OrchestratedHandle,
    StartError,
    StopReason,
    ToolCallBlock,
    ToolDecisions,
    ToolResultMessage,
)
from procorch.agents.agent import as_agent
from tests.llm.libraries import libraries
from tests.llm.server import Provider
from tests.process.conftest import PATIENCE

Begin = Callable[..., OrchestratedHandle]


def delete(path: str) -> str:
    """Delete a file."""
    return f"deleted {path}"


def look(path: str) -> str:
    """Look at a file."""
    return f"seen {path}"


def die(path: str) -> str:
    """End this process."""
    os.kill(os.getpid(), signal.SIGKILL)
    return path


BOTH = 'delete {"path": "/x"}; look {"path": "/y"}'


def told(agent: Any, message: str) -> str:
    text: str = agent.send_message(message, timeout=PATIENCE).text
    return text


@libraries
def test_calls_wait_for_decisions_over_the_death_of_their_process(
    begin: Begin, provider: Provider, library: Any
) -> None:
    tools = {"tools": [delete, look, die], "approval": ["delete", "die"]}
    agent = begin(library(provider.url("tools"), checkpoint=True, **tools))

    result = agent.send_message(BOTH, timeout=PATIENCE)
    (call,) = result.pending
    assert (call.name, call.arguments) == ("delete", {"path": "/x"})
    assert (result.stop_reason, result.output, result.text) == (StopReason.TOOL_USE, None, "")
    assert result.usage.total == 18
    (seen,) = [m for m in result.messages if isinstance(m, ToolResultMessage)]
    assert seen.text == "seen /y"  # a call that needs no approval has been made

    agent.restart()  # the next generation has only the checkpoint
    answer = agent.resume(result, {call.id: True}, timeout=PATIENCE)
    assert "deleted /x" in answer.text
    assert "seen /y" in answer.text
    assert (answer.pending, answer.usage.total) == ((), 18)
    said = [m.text for m in answer.messages if isinstance(m, ToolResultMessage)]
    assert said == ["deleted /x"]  # and nothing of the result before

    with pytest.raises(InvalidContinue, match="no call of a tool waits"):
        agent.resume(result, {call.id: True}, timeout=PATIENCE)
    assert told(agent, "hello") == "told"

    result = agent.send_message('die {"path": "/z"}', timeout=PATIENCE)
    with pytest.raises(AgentCrashed):
        agent.resume(result, {result.pending[0].id: True}, timeout=PATIENCE)
    answer = agent.resume(result, {result.pending[0].id: "not today"}, timeout=PATIENCE)
    assert answer.text == "told | not today"


@libraries
def test_a_call_that_is_not_approved_does_not_run(
    begin: Begin, provider: Provider, library: Any
) -> None:
    options = {"tools": [delete, look], "approval": {"delete", "look"}}
    agent = begin(library(provider.url("tools"), **options))

    first, second = agent.send_message(BOTH, timeout=PATIENCE).pending
    assert [first.name, second.name] == ["delete", "look"]
    decisions = ToolDecisions({first.id: False, second.id: True})
    with agent.stream(decisions, timeout=PATIENCE) as answer:
        text = answer.result().text
    assert "not approved" in text
    assert "seen /y" in text
    assert "deleted" not in text

    agent.send_message(BOTH, timeout=PATIENCE)
    assert told(agent, "never mind") == "told"  # they wait no more
    closed = [m for m in provider.requests[-1]["messages"] if m["role"] == "tool"]
    assert [m["content"] for m in closed[-2:]] == [
        "The call was not approved: the user went on with something else."
    ] * 2
    stale = agent.submit(ToolDecisions({"c1": True})).exception(PATIENCE)
    assert isinstance(stale, InvalidContinue)


def paused(*names: str) -> AgentResult:
    return AgentResult(pending=tuple(ToolCallBlock(f"id-{name}", name, {}) for name in names))


@pytest.mark.parametrize(
    ("result", "decisions", "error", "words"),
    [
        (AgentResult(), {"c": True}, ValueError, "nothing to decide about"),
        (paused("a", "b"), {"id-a": True}, ValueError, r"no decision about 'id-b' \(b\)"),
        (paused("a"), {"id-a": True, "x": False}, ValueError, "no pending call 'x', but 'id-a'"),
        (paused("a"), {"id-a": None}, TypeError, "True, False or a reason as text, not NoneType"),
        (paused("a"), {"id-a": ""}, ValueError, "reason .* is empty"),
        (paused("a"), ["id-a"], TypeError, "not list"),
        (paused("a"), None, TypeError, "a result and the decisions about its calls, or nothing"),
        ("hello", {"c": True}, TypeError, "not str"),
    ],
)
def test_decisions_are_checked_where_they_are_made(
    preloaded: AgentOrchestrator,
    result: Any,
    decisions: Any,
    error: type[Exception],
    words: str,
) -> None:
    agent = preloaded.handle("first")
    assert agent is not None
    with pytest.raises(error, match=words):
        agent.resume(result, decisions)


def test_resume_without_a_result_ends_the_pause_of_an_agent(begin: Begin) -> None:
    agent = begin(lambda: AgentOptions(stream_fn=lambda context: "hi"))
    with pytest.raises(InvalidContinue, match="stream_fn"):
        agent.resume(paused("a"), {"id-a": True})
    agent.pause()
    waiting = agent.submit("hello")
    agent.resume()
    assert waiting.result(PATIENCE).text == "hi"


@pytest.mark.parametrize(
    ("approval", "words"),
    [(["delet"], "did you mean 'delete'"), ("delete", "no list of names"), (3, "no list of names")],
)
def test_names_that_no_tool_has_are_refused(approval: Any, words: str) -> None:
    with pytest.raises(StartError, match=words) as caught:
        as_agent(AgentOptions(model="test", tools=[delete], approval=approval))
    assert caught.value.permanent


def test_a_whole_agent_of_the_library_says_itself_which_tools_need_approval(
    begin: Begin, provider: Provider
) -> None:
    url = provider.url("tools")

    def of_pydantic_ai() -> Any:
        from pydantic_ai import Agent, DeferredToolRequests, Tool
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        model = OpenAIChatModel("gpt-4o", provider=OpenAIProvider(base_url=url, api_key="k"))
        tools = [Tool(delete, requires_approval=True)]
        return Agent(model, tools=tools, output_type=[str, DeferredToolRequests])

    def of_openai_agents() -> Any:
        from agents import Agent, OpenAIChatCompletionsModel, function_tool, set_tracing_disabled
        from openai import AsyncOpenAI

        set_tracing_disabled(True)
        model = OpenAIChatCompletionsModel("gpt-4o", AsyncOpenAI(base_url=url, api_key="k"))
        return Agent("a", model=model, tools=[function_tool(delete, needs_approval=True)])

    for factory in (of_pydantic_ai, of_openai_agents):
        agent = begin(factory)
        result = agent.send_message('delete {"path": "/x"}', timeout=PATIENCE)
        (call,) = result.pending
        assert agent.resume(result, {call.id: True}).text == "told | deleted /x"
