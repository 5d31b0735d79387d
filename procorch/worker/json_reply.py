"""Replies of an agent whose answers are plain data for JSON (the setting ``answers="json"``).

The caller loads such a reply without importing anything of the agent. What a result says about the
conversation stays what it is: messages, their content, usage, cost and the reason of the stop are
procorch's own classes. Every value inside them that the agent may choose is converted.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from procorch import messages as said
from procorch.agents.json_form import plain
from procorch.messages import AgentResult, AssistantMessage, Cost, RequestMetrics, Usage
from procorch.wire import codec, used
from procorch.wire.payload import Buffer

_BLOCKS = (
    said.TextBlock, said.ThinkingBlock, said.ToolCallBlock, said.ImageBlock, said.ExtensionBlock,
)  # fmt: skip
_MESSAGES = (
    said.UserMessage, AssistantMessage, said.ToolResultMessage, said.CustomMessage,
)  # fmt: skip


def encode(value: Any, *, what: str) -> list[Buffer]:
    """The body of a reply: as `codec.encode`, of the converted value."""
    return codec.encode(converted(value), what=what)


def converted(value: Any) -> Any:
    """What an agent has returned, as plain data, or as a result or message with plain data inside.

    An instance of a subclass of theirs becomes one of `AgentResult` or `AssistantMessage` itself.
    """
    if isinstance(value, AgentResult):
        return AgentResult(
            messages=tuple(_message(each) for each in value.messages),
            stop_reason=_reason(value.stop_reason),
            usage=_usage(value),
            cost=_cost(value),
            error=_text(value.error),
            transfer_signal=plain(value.transfer_signal),
            output=plain(value.output),
            metrics=value.metrics if type(value.metrics) is RequestMetrics else None,
            pending=tuple(_block(each) for each in value.pending),
        )
    return _message(value) if isinstance(value, AssistantMessage) else plain(value)


def _message(message: Any) -> Any:
    kind = next((each for each in _MESSAGES if isinstance(message, each)), None)
    if kind is None:
        return said.CustomMessage(plain(message), kind=type(message).__qualname__)
    found: dict[str, Any] = {}
    for name in (each.name for each in fields(kind)):
        value = getattr(message, name)
        if name == "content":
            found[name] = tuple(_block(each) for each in value)
        elif name == "usage":
            found[name] = _usage(message)
        elif name == "cost":
            found[name] = _cost(message)
        elif name == "stop_reason":
            found[name] = _reason(value)
        else:
            found[name] = plain(value)
    return kind(**found)


def _block(block: Any) -> Any:
    kind = next((each for each in _BLOCKS if isinstance(block, each)), None)
    if kind is None:
        return said.ExtensionBlock(type(block).__qualname__, plain(block))
    if kind is said.ImageBlock and isinstance(block.data, bytes):
        # Text in its place would be the URL of an image.
        return said.ImageBlock(bytes(block.data), plain(block.media_type))
    return kind(*(plain(getattr(block, each.name)) for each in fields(kind)))


def _reason(reason: Any) -> said.StopReason:
    return reason if isinstance(reason, said.StopReason) else said.StopReason.STOP


def _usage(of: Any) -> Usage:
    numbers = used.numbers(of.usage, of.cost)
    return Usage() if numbers is None else Usage(*map(int, numbers[:4]))


def _cost(of: Any) -> Cost:
    numbers = used.numbers(of.usage, of.cost)
    return Cost() if numbers is None else Cost(*map(float, numbers[4:]))


def _text(value: Any) -> str | None:
    return None if value is None else str(plain(value))
