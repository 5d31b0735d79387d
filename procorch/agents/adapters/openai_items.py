"""Messages as items of OpenAI's Responses API, which openai-agents keeps, and back.

An item is plain data: one message, one call or one result. A turn of a model is several items, one
message of ours. Items of another kind travel as `ExtensionBlock`s and come back as what they were.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from procorch.agents.adapters.attributes import well_formed
from procorch.messages import (
    AgentMessage,
    AssistantMessage,
    ContentBlock,
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

Item = Mapping[str, Any]

INVALID_JSON = "INVALID_JSON"
"""The name of malformed arguments of a call, as pydantic-ai has it."""


def from_items(items: Iterable[Item]) -> list[AgentMessage]:
    """A conversation of items as messages; what a developer or system item says is none."""
    found: list[AgentMessage] = []
    turn: list[ContentBlock] = []

    def end_turn() -> None:
        if turn:
            calls = any(isinstance(block, ToolCallBlock) for block in turn)
            reason = StopReason.TOOL_USE if calls else StopReason.STOP
            found.append(AssistantMessage(tuple(turn), stop_reason=reason))
            turn.clear()

    for item in items:
        kind = item.get("type", "message")
        if kind == "function_call_output":
            end_turn()
            found.append(ToolResultMessage(item["call_id"], (TextBlock(_output(item)),)))
        elif kind == "message" and item.get("role") == "user":
            end_turn()
            found.append(UserMessage(tuple(_said(item["content"]))))
        elif kind == "message" and item.get("role") == "assistant":
            turn.extend(_said(item["content"]))
        elif kind == "function_call":
            turn.append(ToolCallBlock(item["call_id"], item["name"], _arguments(item["arguments"])))
        elif kind != "message":
            turn.append(ExtensionBlock(kind, dict(item)))
    end_turn()
    return found


def to_items(messages: Iterable[AgentMessage]) -> list[Any]:
    """Messages as items; a `CustomMessage` is never shown to a model."""
    found: list[Any] = []
    for message in messages:
        if isinstance(message, UserMessage):
            found.append({"role": "user", "content": [_input(it) for it in message.content]})
        elif isinstance(message, ToolResultMessage):
            output = f"error: {message.text}" if message.is_error else message.text
            call = {"call_id": message.tool_call_id, "output": output}
            found.append({"type": "function_call_output", **call})
        elif isinstance(message, AssistantMessage):
            found.extend(_turn(message))
    return found


def encodable(items: list[Any]) -> list[Any]:
    """The items as UTF-8 can carry them: half of a surrogate pair, which a model may write, would
    make each further request fail."""
    text = json.dumps(items, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        mended: list[Any] = json.loads(well_formed(text))
        return mended
    return items


def _arguments(text: str | None) -> dict[str, Any]:
    """What a model wrote as the arguments of a call, under a name of its own if that is no JSON
    object: the library has told the model so, and the conversation goes on."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {INVALID_JSON: text}


def _as_text(arguments: Mapping[str, Any]) -> str:
    if arguments.keys() == {INVALID_JSON}:
        return str(arguments[INVALID_JSON])
    return json.dumps(dict(arguments))


def _output(item: Item) -> str:
    output = item["output"]
    if isinstance(output, str):
        return output
    return "".join(part.get("text", "") for part in output)


def _said(content: Any) -> Iterator[ContentBlock]:
    for part in [{"text": content}] if isinstance(content, str) else content:
        if "text" in part:
            yield TextBlock(part["text"])
        elif "refusal" in part:
            yield TextBlock(part["refusal"])
        elif part.get("image_url"):
            yield _image(part["image_url"])
        else:
            yield ExtensionBlock(part.get("type", ""), dict(part))


def _image(url: str) -> ImageBlock:
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:"):
        return ImageBlock(url)
    return ImageBlock(base64.b64decode(data), head.removeprefix("data:").partition(";")[0])


def _input(block: ContentBlock) -> Any:
    if isinstance(block, ImageBlock):
        url = block.data
        if isinstance(url, bytes):
            url = f"data:{block.media_type};base64,{base64.b64encode(url).decode()}"
        return {"type": "input_image", "image_url": url, "detail": "auto"}
    if isinstance(block, ExtensionBlock):
        return block.data
    return {"type": "input_text", "text": _text(block)}


def output_of(blocks: Sequence[ContentBlock]) -> Any:
    """What a tool has returned: text as it is, all else as parts."""
    if all(isinstance(block, TextBlock) for block in blocks):
        return "\n".join(_text(block) for block in blocks)
    return [
        {"type": "image", "image_url": _input(block)["image_url"]}
        if isinstance(block, ImageBlock)
        else {"type": "text", "text": _text(block)}
        for block in blocks
    ]


def _turn(message: AssistantMessage) -> Iterator[Any]:
    for block in message.content:
        if isinstance(block, ToolCallBlock):
            arguments = _as_text(block.arguments)
            call = {"call_id": block.id, "name": block.name, "arguments": arguments}
            yield {"type": "function_call", **call}
        elif isinstance(block, ExtensionBlock):
            yield block.data
        else:
            yield {"role": "assistant", "content": _text(block)}


def _text(block: ContentBlock) -> str:
    if isinstance(block, ThinkingBlock):
        return block.thinking
    return block.text if isinstance(block, TextBlock) else ""


def usage_of(told: Any) -> Usage:
    """Their usage as ours, where what was read from a cache or written to it counts apart."""
    details = told.input_tokens_details
    read, written = details.cached_tokens or 0, details.cache_write_tokens or 0
    return Usage(max(0, told.input_tokens - read - written), told.output_tokens, read, written)
