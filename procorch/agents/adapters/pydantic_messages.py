"""Messages, usage, cost and stop reasons: pydantic-ai's as ours, and ours as pydantic-ai's.

A `ModelRequest` of theirs holds what several messages of ours hold (prompts and tool results), so
their history and ours have not the same length; what the model reads is the same. Parts of a kind
that we have no block for travel as `ExtensionBlock`s, their JSON form as the data, and come back as
what they were. What is theirs alone (system prompts, notes on changed settings) is no message.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai import messages as theirs
from pydantic_ai.usage import RequestUsage

from procorch.agents.adapters.attributes import well_formed
from procorch.agents.approval import PASSED_OVER
from procorch.errors import InvalidContinue
from procorch.messages import (
    AgentMessage,
    AssistantMessage,
    ContentBlock,
    Cost,
    CustomMessage,
    ExtensionBlock,
    ImageBlock,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    ToolResultMessage,
    Usage,
    UserMessage,
)

_STOPS = {
    "stop": StopReason.STOP,
    "length": StopReason.LENGTH,
    "tool_call": StopReason.TOOL_USE,
    "content_filter": StopReason.ERROR,
    "error": StopReason.ERROR,
}
_FINISHES: dict[StopReason, theirs.FinishReason] = {
    StopReason.STOP: "stop",
    StopReason.LENGTH: "length",
    StopReason.TOOL_USE: "tool_call",
    StopReason.ERROR: "error",
}


# Theirs as ours.


def from_theirs(history: Iterable[theirs.ModelMessage]) -> list[AgentMessage]:
    """A history of pydantic-ai as messages."""
    found: list[AgentMessage] = []
    for message in history:
        if isinstance(message, theirs.ModelResponse):
            found.append(_assistant(message))
        else:
            found.extend(_asked(message))
    return found


def encodable(history: list[theirs.ModelMessage], since: int) -> list[theirs.ModelMessage]:
    """A history as UTF-8 can carry it: half of a surrogate pair, which a model may write, would
    make each further request fail.

    Args:
        since: how many of its messages are known to be so.
    """
    adapter = theirs.ModelMessagesTypeAdapter
    try:
        adapter.dump_json(history[since:])
    except (ValueError, UnicodeError):
        text = json.dumps(adapter.dump_python(history, mode="json"), ensure_ascii=False)
        mended: list[theirs.ModelMessage] = adapter.validate_json(well_formed(text))
        return mended
    return history


def usage_of(usage: Any) -> Usage:
    """Their usage as ours, where what was read from a cache or written to it counts apart."""
    read, written = usage.cache_read_tokens, usage.cache_write_tokens
    fresh = max(0, usage.input_tokens - read - written)
    return Usage(fresh, usage.output_tokens, read, written)


def cost_of(response: theirs.ModelResponse) -> Cost:
    """What a response cost, nothing where nobody knows the price of its model."""
    return Cost() if response.usage.cost is None else price_of(response)


def price_of(response: theirs.ModelResponse) -> Cost:
    """The same for a response that a run of the library has not accounted for yet."""
    try:
        price = response.cost()
    except (AssertionError, LookupError, ValueError):
        return Cost(output=float(response.usage.cost or 0.0))  # told by a gateway, in one sum
    return Cost(float(price.input_price), float(price.output_price))


def _assistant(response: theirs.ModelResponse) -> AssistantMessage:
    reason = response.finish_reason
    stop = _STOPS.get(reason or "stop", StopReason.STOP)
    if reason is None and response.tool_calls:
        stop = StopReason.TOOL_USE
    if response.state == "interrupted":
        stop = StopReason.ABORTED
    return AssistantMessage(
        tuple(_block(part) for part in response.parts),
        response.timestamp.timestamp(),
        response.provider_name or "",
        response.model_name or "",
        usage_of(response.usage),
        cost_of(response),
        stop,
        reason if stop is StopReason.ERROR else None,
    )


def _block(part: theirs.ModelResponsePart) -> ContentBlock:
    if isinstance(part, theirs.TextPart):
        return TextBlock(part.content)
    if isinstance(part, theirs.ThinkingPart):
        return ThinkingBlock(part.content, part.signature)
    if isinstance(part, theirs.ToolCallPart):
        return call_block(part)
    if isinstance(part, theirs.FilePart) and part.content.is_image:
        return ImageBlock(part.content.data, part.content.media_type)
    return ExtensionBlock(part.part_kind, _parts().dump_python(part, mode="json"))


def call_block(part: theirs.ToolCallPart) -> ToolCallBlock:
    """A call of a tool as ours."""
    return ToolCallBlock(part.tool_call_id, part.tool_name, part.args_as_dict())


def _asked(request: theirs.ModelRequest) -> Iterator[AgentMessage]:
    for part in request.parts:
        if isinstance(part, theirs.UserPromptPart):
            content = [part.content] if isinstance(part.content, str) else part.content
            yield UserMessage(tuple(_said(content)), part.timestamp.timestamp(), _hint(content))
        elif isinstance(part, theirs.ToolReturnPart):
            text, failed = part.model_response_str(wrap_if_error=False), part.outcome != "success"
            when = part.timestamp.timestamp()
            yield ToolResultMessage(part.tool_call_id, (TextBlock(text),), when, failed)
        elif isinstance(part, theirs.RetryFeedbackPart):
            yield UserMessage((TextBlock(part.model_response()),), part.timestamp.timestamp())


def _said(content: Sequence[theirs.UserContent]) -> Iterator[ContentBlock]:
    for item in content:
        if isinstance(item, str):
            yield TextBlock(item)
        elif isinstance(item, theirs.TextContent):
            yield TextBlock(item.content)
        elif isinstance(item, theirs.ImageUrl):
            yield ImageBlock(item.url)
        elif isinstance(item, theirs.BinaryContent) and item.is_image:
            yield ImageBlock(item.data, item.media_type)
        elif not isinstance(item, theirs.CachePoint):
            yield ExtensionBlock(item.kind, _contents().dump_python(item, mode="json"))


def _hint(content: Sequence[theirs.UserContent]) -> str | None:
    return next((item.ttl for item in content if isinstance(item, theirs.CachePoint)), None)


def open_calls(history: Sequence[theirs.ModelMessage]) -> list[theirs.ToolCallPart]:
    """The calls of the last response that have no result yet."""
    answered: set[str] = set()
    for message in reversed(history):
        if isinstance(message, theirs.ModelResponse):
            return [call for call in message.tool_calls if call.tool_call_id not in answered]
        answered.update(
            part.tool_call_id for part in message.parts if isinstance(part, theirs.ToolReturnPart)
        )
    return []


# Ours as theirs.


def end_calls(
    history: Sequence[theirs.ModelMessage], answered: Collection[str]
) -> list[theirs.ModelMessage]:
    """What ends the calls that still wait, when other messages come; but for those answered."""
    parts: list[theirs.ModelRequestPart] = [
        theirs.ToolReturnPart(call.tool_name, PASSED_OVER, call.tool_call_id, outcome="denied")
        for call in open_calls(history)
        if call.tool_call_id not in answered
    ]
    return [theirs.ModelRequest(parts)] if parts else []


def to_theirs(
    messages: Iterable[AgentMessage], before: Iterable[theirs.ModelMessage] = ()
) -> list[theirs.ModelMessage]:
    """Messages as a history of pydantic-ai; a `CustomMessage` is never shown to a model.

    Args:
        before: the history that they continue: a tool's result belongs to a call in it.

    Raises:
        InvalidContinue: a tool's result for a call that is not there.
    """
    calls = {
        part.tool_call_id: part.tool_name
        for message in before
        if isinstance(message, theirs.ModelResponse)
        for part in message.tool_calls
    }
    found: list[theirs.ModelMessage] = []
    for message in messages:
        if isinstance(message, AssistantMessage):
            found.append(_response(message))
            calls.update((call.id, call.name) for call in message.tool_calls)
        elif isinstance(message, UserMessage):
            part = theirs.UserPromptPart(prompt(message), timestamp=_time(message))
            found.append(theirs.ModelRequest([part]))
        elif isinstance(message, ToolResultMessage):
            name = calls.get(message.tool_call_id)
            if name is None:
                raise InvalidContinue(f"a result for the unknown call {message.tool_call_id!r}")
            found.append(theirs.ModelRequest([_returned(message, name)]))
        else:
            assert isinstance(message, CustomMessage)
    return found


def prompt(message: UserMessage) -> str | list[theirs.UserContent]:
    """What a user says, as the prompt of a run."""
    if len(message.content) == 1 and isinstance(message.content[0], TextBlock):
        content: list[theirs.UserContent] = [message.content[0].text]
    else:
        content = [_content(block) for block in message.content]
    if message.cache_hint is not None:
        content.append(theirs.CachePoint(ttl="1h" if message.cache_hint == "1h" else "5m"))
    return content[0] if len(content) == 1 and isinstance(content[0], str) else content


def content_of(blocks: Iterable[ContentBlock]) -> list[theirs.UserContent]:
    """Blocks as what a tool returns."""
    return [_content(block) for block in blocks]


def _content(block: ContentBlock) -> theirs.UserContent:
    if isinstance(block, TextBlock):
        return block.text
    if isinstance(block, ThinkingBlock):
        return block.thinking
    if isinstance(block, ImageBlock):
        if isinstance(block.data, str):
            return theirs.ImageUrl(block.data)
        return theirs.BinaryContent(block.data, media_type=block.media_type)
    if isinstance(block, ExtensionBlock):
        found: theirs.UserContent = _contents().validate_python(block.data)
        return found
    raise InvalidContinue("a user's message has no tool calls")


def _response(message: AssistantMessage) -> theirs.ModelResponse:
    usage = message.usage
    return theirs.ModelResponse(
        [_part(block, message.provider or None) for block in message.content],
        usage=RequestUsage(
            input_tokens=usage.input + usage.cache_read + usage.cache_write,
            output_tokens=usage.output,
            cache_read_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write,
        ),
        model_name=message.model or None,
        timestamp=_time(message),
        provider_name=message.provider or None,
        finish_reason=_FINISHES.get(message.stop_reason),
    )


def _part(block: ContentBlock, provider: str | None) -> theirs.ModelResponsePart:
    if isinstance(block, TextBlock):
        return theirs.TextPart(block.text)
    if isinstance(block, ThinkingBlock):
        signed = None if block.signature is None else provider
        return theirs.ThinkingPart(block.thinking, signature=block.signature, provider_name=signed)
    if isinstance(block, ToolCallBlock):
        return theirs.ToolCallPart(block.name, dict(block.arguments), block.id)
    if isinstance(block, ImageBlock) and isinstance(block.data, bytes):
        return theirs.FilePart(theirs.BinaryImage(block.data, media_type=block.media_type))
    if isinstance(block, ExtensionBlock):
        found: theirs.ModelResponsePart = _parts().validate_python(block.data)
        return found
    raise InvalidContinue("an assistant's message has no images by URL")


def _returned(message: ToolResultMessage, name: str) -> theirs.ToolReturnPart:
    return theirs.ToolReturnPart(
        name,
        message.text,
        message.tool_call_id,
        timestamp=_time(message),
        outcome="failed" if message.is_error else "success",
    )


def _time(message: AssistantMessage | UserMessage | ToolResultMessage) -> datetime:
    return datetime.fromtimestamp(message.timestamp, UTC)


@cache
def _parts() -> TypeAdapter[Any]:
    return TypeAdapter(theirs.ModelResponsePart)


@cache
def _contents() -> TypeAdapter[Any]:
    return TypeAdapter(theirs.UserContent)
