"""Calls of tools: what a model is told of their results and of their errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from procorch.errors import Aborted, McpServerError, RequestTimeout
from procorch.errors.texts import text_of
from procorch.messages import ContentBlock, TextBlock, ToolCallBlock, ToolResultMessage

NEVER_TOLD = (Aborted, McpServerError, RequestTimeout)
"""Errors of a tool that end the request: nobody waits for an answer any more, or the agent has lost
what it needs."""


def failure_text(error: Exception) -> str:
    """What a model is told of an error: its class, and its text without credentials."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


async def run_tool(
    call: ToolCallBlock, tools: Mapping[str, Callable[..., Any]], *, tell: bool
) -> ToolResultMessage:
    """Answer one call.

    Args:
        tell: whether the model is told of an error; else it is raised.
    """
    tool = tools.get(call.name)
    if tool is None:
        return failed(call, f"unknown tool {call.name!r}; there is: {', '.join(tools) or 'none'}")
    try:
        value = tool(**call.arguments)
        while hasattr(value, "__await__"):
            value = await value
    except Exception as error:
        if not tell or isinstance(error, NEVER_TOLD):
            raise
        return failed(call, failure_text(error))
    return _answer(call, value)


def failed(call: ToolCallBlock, text: str) -> ToolResultMessage:
    """What answers a call that has come to nothing."""
    return ToolResultMessage(call.id, (TextBlock(text),), is_error=True)


def _answer(call: ToolCallBlock, value: Any) -> ToolResultMessage:
    """What a tool returned, for the model: text and blocks as they are, all else as JSON."""
    if isinstance(value, ToolResultMessage):
        return replace(value, tool_call_id=call.id)
    if isinstance(value, str | ContentBlock):
        return ToolResultMessage(call.id, cast("Any", value))
    if (
        isinstance(value, list | tuple)
        and value
        and all(isinstance(v, ContentBlock) for v in value)
    ):
        return ToolResultMessage(call.id, value)
    import json

    return ToolResultMessage(call.id, (TextBlock(json.dumps(value, default=repr)),))
