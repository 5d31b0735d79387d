"""What happens while an answer is made, for those who read along: text, reasoning, calls, usage.

Each event has a form for JSON, `as_dict`, whose ``type`` says what it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

from procorch.messages import Cost, Usage

LONGEST = 65_536
"""Characters of a tool's result that an event has; the result in the conversation is whole."""


class _Event:
    """An event as plain data."""

    __slots__ = ()
    type: ClassVar[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: ``type``, and the fields of the event."""
        found: dict[str, Any] = {"type": self.type}
        for each in fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            if isinstance(value, Usage | Cost):
                value = {part.name: getattr(value, part.name) for part in fields(value)}
            found[each.name] = dict(value) if isinstance(value, Mapping) else value
        return found


@dataclass(frozen=True, slots=True)
class TextEvent(_Event):
    """A piece of the answer's text.

    Example:
        >>> TextEvent("Rome is ").as_dict()
        {'type': 'text', 'text': 'Rome is '}
    """

    type: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningEvent(_Event):
    """A piece of what a model thinks.

    Example:
        >>> ReasoningEvent("It is either Rome or Paris.").type
        'reasoning'
    """

    type: ClassVar[str] = "reasoning"
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallEvent(_Event):
    """A model calls a tool; ``id`` ties its result to it.

    Example:
        >>> ToolCallEvent("call-1", "weather", {"city": "Rome"}).arguments["city"]
        'Rome'
    """

    type: ClassVar[str] = "tool_call"
    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResultEvent(_Event):
    """What a call came to; at most 65,536 characters of it.

    Example:
        >>> ToolResultEvent("call-1", "sunny").as_dict()["type"]
        'tool_result'
    """

    type: ClassVar[str] = "tool_result"
    id: str
    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class UsageEvent(_Event):
    """What one turn of a model has used.

    Example:
        >>> UsageEvent(Usage(input=10, output=5), Cost()).usage.total
        15
    """

    type: ClassVar[str] = "usage"
    usage: Usage
    cost: Cost


StreamEvent: TypeAlias = TextEvent | ReasoningEvent | ToolCallEvent | ToolResultEvent | UsageEvent

_ALL = (TextEvent, ReasoningEvent, ToolCallEvent, ToolResultEvent, UsageEvent)
_KINDS: Mapping[str, Any] = {kind.type: kind for kind in _ALL}


def dumped(event: StreamEvent) -> bytes:
    """An event as bytes."""
    return json.dumps(event.as_dict(), default=repr).encode()


def loaded(data: bytes) -> StreamEvent:
    """The event of which these are the bytes."""
    found = json.loads(data)
    kind = _KINDS[found.pop("type")]
    if kind is UsageEvent:
        return UsageEvent(Usage(**found["usage"]), Cost(**found["cost"]))
    event: StreamEvent = kind(**found)
    return event
