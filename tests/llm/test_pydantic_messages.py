"""Messages of pydantic-ai as ours and back: nothing that a model reads is lost on the way."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic_ai import messages as theirs
from pydantic_ai.usage import RequestUsage

from procorch import (
    AssistantMessage,
    Cost,
    CustomMessage,
    ExtensionBlock,
    ImageBlock,
    InvalidContinue,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    ToolResultMessage,
    Usage,
    UserMessage,
)
from procorch.agents.adapters.pydantic_messages import cost_of, from_theirs, to_theirs, usage_of

CONVERSATION = [
    UserMessage("hi", 1.0),
    AssistantMessage(
        (
            ThinkingBlock("let me see", "signed"),
            TextBlock("a moment"),
            ToolCallBlock("c1", "add", {"a": 1, "b": [2, {"c": None}]}),
        ),
        2.0,
        provider="openai",
        model="gpt-4o",
        usage=Usage(10, 5, 3, 2),
        stop_reason=StopReason.TOOL_USE,
    ),
    ToolResultMessage("c1", "no such thing", 3.0, is_error=True),
    UserMessage(["look: ", ImageBlock(b"\x89PNG"), ImageBlock("https://x/y.png")], 4.0, "1h"),
    AssistantMessage([ImageBlock(b"\x89PNG"), "there"], 5.0, stop_reason=StopReason.LENGTH),
]


def test_a_conversation_comes_back_as_it_was() -> None:
    assert from_theirs(to_theirs(CONVERSATION)) == CONVERSATION


def test_a_custom_message_is_not_shown_to_a_model() -> None:
    assert to_theirs([CustomMessage("note")]) == []


def test_a_result_belongs_to_a_call_of_the_history_before() -> None:
    before = to_theirs(CONVERSATION[:2])
    (found,) = to_theirs(CONVERSATION[2:3], before)
    assert isinstance(found.parts[0], theirs.ToolReturnPart)
    assert found.parts[0].tool_name == "add"
    with pytest.raises(InvalidContinue, match="unknown call 'c1'"):
        to_theirs(CONVERSATION[2:3])


def test_what_we_have_no_block_for_travels_along_and_back() -> None:
    call: Any = theirs.NativeToolCallPart("web_search", {"q": "x"}, "n1", provider_name="openai")
    (message,) = from_theirs([theirs.ModelResponse([call])])
    assert isinstance(message, AssistantMessage)
    assert isinstance(message.content[0], ExtensionBlock)
    assert message.content[0].type_name == "builtin-tool-call"
    (back,) = to_theirs([message])
    assert back.parts == [call]
    sound = theirs.BinaryContent(b"la", media_type="audio/wav")
    (heard,) = from_theirs([theirs.ModelRequest([theirs.UserPromptPart(["hear", sound])])])
    (again,) = to_theirs([heard])
    assert again.parts[0].content == ["hear", sound]


def test_what_is_theirs_alone_is_no_message() -> None:
    assert from_theirs([theirs.ModelRequest([theirs.SystemPromptPart("be brief")])]) == []


@pytest.mark.parametrize(
    ("response", "reason", "error"),
    [
        (theirs.ModelResponse([theirs.TextPart("x")]), StopReason.STOP, None),
        (theirs.ModelResponse([], finish_reason="length"), StopReason.LENGTH, None),
        (theirs.ModelResponse([theirs.ToolCallPart("f")]), StopReason.TOOL_USE, None),
        (
            theirs.ModelResponse([], finish_reason="content_filter"),
            StopReason.ERROR,
            "content_filter",
        ),
        (theirs.ModelResponse([], state="interrupted"), StopReason.ABORTED, None),
    ],
)
def test_why_a_turn_ended(
    response: theirs.ModelResponse, reason: StopReason, error: str | None
) -> None:
    (message,) = from_theirs([response])
    assert isinstance(message, AssistantMessage)
    assert (message.stop_reason, message.error) == (reason, error)


def test_cached_tokens_count_apart_from_the_others() -> None:
    used = RequestUsage(
        input_tokens=100, output_tokens=7, cache_read_tokens=60, cache_write_tokens=10
    )
    assert usage_of(used) == Usage(30, 7, 60, 10)
    assert usage_of(used).total == used.total_tokens


def test_a_cost_is_known_where_the_price_of_the_model_is() -> None:
    used = RequestUsage(input_tokens=1_000_000, output_tokens=100_000, cost=Decimal("3.5"))
    response = theirs.ModelResponse(
        [],
        usage=used,
        model_name="gpt-4o",
        provider_name="openai",
        timestamp=datetime(2025, 6, 1, tzinfo=UTC),
    )
    cost = cost_of(response)
    assert cost.input == pytest.approx(2.5)
    assert cost.output == pytest.approx(1.0)
    response.model_name = "a-model-of-nobody"
    assert cost_of(response) == Cost(output=3.5)
    response.usage = RequestUsage(input_tokens=10)
    assert cost_of(response) == Cost()
