"""Events of a stream of openai-agents, beside its text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agents.stream_events import RawResponsesStreamEvent, RunItemStreamEvent

from procorch.agents.adapters.openai_items import from_items, usage_of
from procorch.agents.stream_events import (
    LONGEST,
    ReasoningEvent,
    StreamEvent,
    ToolCallEvent,
    ToolResultEvent,
    UsageEvent,
)
from procorch.messages import AssistantMessage, Cost, ToolResultMessage

_REASONING = ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
_OF_TOOLS = ("tool_called", "tool_output")


def events_of(event: Any) -> Iterator[StreamEvent]:
    """What an event of the library tells of reasoning, calls, results and usage."""
    if isinstance(event, RawResponsesStreamEvent):
        data: Any = event.data
        if data.type in _REASONING:
            yield ReasoningEvent(data.delta)
        elif data.type == "response.completed" and data.response.usage is not None:
            yield UsageEvent(usage_of(data.response.usage), Cost())
    elif isinstance(event, RunItemStreamEvent) and event.name in _OF_TOOLS:
        for message in from_items([event.item.to_input_item()]):
            if isinstance(message, AssistantMessage):
                for call in message.tool_calls:
                    yield ToolCallEvent(call.id, call.name, call.arguments)
            elif isinstance(message, ToolResultMessage):
                yield ToolResultEvent(message.tool_call_id, message.text[:LONGEST])
