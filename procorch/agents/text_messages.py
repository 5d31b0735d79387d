"""The messages of a request that is text and whose answer is text, made in a third of the time.

The constructors of frozen dataclasses look up each field by its name. Here the descriptors of the
slots are at hand. Most requests have such messages.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any

from procorch.messages import (
    AgentResult,
    AssistantMessage,
    RequestMetrics,
    TextBlock,
    UserMessage,
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
