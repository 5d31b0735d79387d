"""The messages of a request. Those of text, whose answer is text, are made in a third of the time.

The constructors of frozen dataclasses look up each field by its name. Here the descriptors of the
slots are at hand. Most requests have such messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time
from typing import Any

from procorch.errors import NoMessages
from procorch.messages import (
    AgentMessage,
    AgentResult,
    AssistantMessage,
    RequestMetrics,
    TextBlock,
    UserMessage,
    user_text,
)

_new = object.__new__


def _setters(cls: type) -> list[Callable[[Any, Any], None]]:
    """What sets the fields of a class, in their order."""
    names: tuple[str, ...] = cls.__match_args__  # type: ignore[attr-defined]
    return [cls.__dict__[name].__set__ for name in names]


(_block_text,) = _setters(TextBlock)
(
    _content, _timestamp, _provider, _model, _usage, _cost, _stop_reason, _error, _cache_hint
) = _setters(AssistantMessage)  # fmt: skip
(
    _messages, _end, _all_usage, _all_cost, _failure, _transfer, _output, _metrics, _pending
) = _setters(AgentResult)  # fmt: skip
_said, _said_at, _said_hint = _setters(UserMessage)
_FIGURES = _setters(RequestMetrics)
_PLAIN = AgentResult()
# The very objects that are the defaults, so that the result is pickled without them.
_STOP, _NO_USAGE, _NO_COST = _PLAIN.stop_reason, _PLAIN.usage, _PLAIN.cost


def as_messages(payload: Any) -> list[AgentMessage]:
    """The messages of a request: text, a message, a list of both, or a mapping with `prompt` or
    `messages`.

    Raises:
        NoMessages: there is none.
        TypeError: the payload is something else.
    """
    if isinstance(payload, Mapping):
        payload = payload["prompt"] if "prompt" in payload else payload.get("messages", payload)
    if isinstance(payload, str | AgentMessage):
        payload = [payload]
    if not isinstance(payload, list | tuple):
        raise TypeError(
            "this agent talks to a model: it takes text, messages, or a mapping with 'prompt' or "
            f"'messages', not {type(payload).__name__}"
        )
    messages = [user_text(it) if isinstance(it, str) else it for it in payload]
    for message in messages:
        if not isinstance(message, AgentMessage):
            raise TypeError(f"{type(message).__name__} is no message")
    if not messages:
        raise NoMessages
    return messages


def message_of_text(text: str) -> UserMessage:
    """The same as ``user_text(text)``."""
    block, message = _new(TextBlock), _new(UserMessage)
    _block_text(block, text)
    _said(message, (block,))
    _said_at(message, time())
    _said_hint(message, None)
    return message


def result_of_text(text: str, figures: tuple[Any, ...] | None) -> AgentResult[Any]:
    """The same as ``to_result(text, metrics_of(figures))``."""
    block, message, result = _new(TextBlock), _new(AssistantMessage), _new(AgentResult)
    _block_text(block, text)
    _content(message, (block,))
    _timestamp(message, time())
    _provider(message, "")
    _model(message, "")
    _usage(message, _NO_USAGE)
    _cost(message, _NO_COST)
    _stop_reason(message, _STOP)
    _error(message, None)
    _cache_hint(message, None)
    _messages(result, (message,))
    _end(result, _STOP)
    _all_usage(result, _NO_USAGE)
    _all_cost(result, _NO_COST)
    _failure(result, None)
    _transfer(result, None)
    _output(result, text)
    metrics = None
    if figures is not None:
        metrics = _new(RequestMetrics)
        for put, value in zip(_FIGURES, figures):  # noqa: B905  # the last fields may be missing
            put(metrics, value)
        for put in _FIGURES[len(figures) :]:
            put(metrics, 0)
    _metrics(result, metrics)
    _pending(result, ())
    return result
