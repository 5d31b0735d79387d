"""Events of an answer that is read along: text, reasoning, calls, results, usage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    AgentOptions,
    OrchestratedHandle,
    ReasoningEvent,
    TextEvent,
    ToolCallBlock,
    ToolCallEvent,
    ToolResultEvent,
    ToolResultMessage,
    Usage,
    UsageEvent,
    current,
)
from tests.llm.libraries import libraries
from tests.llm.server import Provider
from tests.process.conftest import PATIENCE

Begin = Callable[..., OrchestratedHandle]


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@libraries
def test_calls_results_and_usage_come_beside_the_text(
    begin: Begin, provider: Provider, library: Any
) -> None:
    agent = begin(library(provider.url("tools"), tools=[add]))
    with agent.stream('add {"a": 2, "b": 3}', timeout=PATIENCE) as answer:
        events = list(answer.events())
    (call,) = [event for event in events if isinstance(event, ToolCallEvent)]
    assert (call.name, call.arguments) == ("add", {"a": 2, "b": 3})
    (result,) = [event for event in events if isinstance(event, ToolResultEvent)]
    assert result == ToolResultEvent(call.id, "5")
    assert "".join(event.text for event in events if isinstance(event, TextEvent)) == "told | 5 "
    used = [event.usage for event in events if isinstance(event, UsageEvent)]
    assert used == [Usage(11, 7), Usage(11, 7)]
    assert events.index(call) < events.index(result)
    assert all(json.loads(json.dumps(each.as_dict()))["type"] == each.type for each in events)
    assert call.as_dict() == {
        "type": "tool_call",
        "id": call.id,
        "name": "add",
        "arguments": {"a": 2, "b": 3},
    }
    with agent.stream('add {"a": 2, "b": 3}', timeout=PATIENCE) as answer:
        assert "".join(answer) == "told | 5 "  # the text alone


@libraries
def test_reasoning_comes_while_a_model_thinks(
    begin: Begin, provider: Provider, library: Any
) -> None:
    agent = begin(library(provider.url("thinking")))
    with agent.stream("hi", timeout=PATIENCE) as answer:
        thought = [event.text for event in answer.events() if isinstance(event, ReasoningEvent)]
    assert "".join(thought) == "012345678"


def test_a_stream_fn_and_code_of_ones_own_send_events(begin: Begin) -> None:
    def factory() -> AgentOptions:
        def turn(context: Any) -> Any:
            if isinstance(context.messages[-1], ToolResultMessage):
                yield "done"
            else:
                current().emit(ReasoningEvent("hm"))
                yield ToolCallBlock("1", "add", {"a": 1, "b": 1})

        return AgentOptions(stream_fn=turn, tools=[add])

    async def read() -> list[Any]:
        async with begin(factory).stream("go") as answer:
            return [event.as_dict() async for event in answer.events()]

    nothing = {"input": 0, "output": 0, "cache_read": 0, "cache_write": 0}
    assert asyncio.run(read()) == [
        {"type": "reasoning", "text": "hm"},
        {"type": "usage", "usage": nothing, "cost": nothing},
        {"type": "tool_call", "id": "1", "name": "add", "arguments": {"a": 1, "b": 1}},
        {"type": "tool_result", "id": "1", "text": "2", "is_error": False},
        {"type": "text", "text": "done"},
        {"type": "usage", "usage": nothing, "cost": nothing},
    ]


def test_what_is_no_piece_is_refused(begin: Begin) -> None:
    agent = begin(lambda: lambda messages: current().emit(7))  # type: ignore[arg-type]
    with pytest.raises(Exception, match="emit\\(\\) takes text or an event, not int"):
        agent.send_message("hi")
