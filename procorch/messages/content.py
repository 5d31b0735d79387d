"""Messages and their content blocks, usage, cost.

All of them, and the results, are frozen, slotted dataclasses, named as in the seed. They are made
and pickled by the hundred thousand: no default is allocated that can be shared, and each pickles as
its class and the fields that say something (`record`), at a third of what such a dataclass costs by
itself. Timestamps are Unix seconds and default to now.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from operator import add, attrgetter, is_
from time import time
from typing import Any, Self, TypeAlias, TypeVar

_Class = TypeVar("_Class", bound=type)


def record(cls: _Class) -> _Class:
    """Pickle instances as `cls(*fields)`, without the last fields as long as they are defaults.

    Instances of a subclass are left alone: it may have fields of its own.
    """
    names: tuple[str, ...] = cls.__match_args__  # type: ignore[attr-defined]
    get: Callable[[Any], Any] = attrgetter(*names)
    if len(names) == 1:
        copyreg.pickle(cls, lambda it: (cls, (get(it),)))
        return cls
    defaults = tuple(f.default for f in fields(cls))
    told = 1 + max((n for n, value in enumerate(defaults) if value is MISSING), default=-1)
    usual = defaults[told:]

    def reduce(it: Any) -> tuple[Any, ...]:
        values = get(it)
        return (cls, values[:told]) if all(map(is_, values[told:], usual)) else (cls, values)

    copyreg.pickle(cls, reduce)
    return cls


# Content blocks.


@record
@dataclass(frozen=True, slots=True)
class TextBlock:
    """Text of a user, a model or a tool.

    Example:
        >>> TextBlock("hello").text
        'hello'
    """

    text: str


@record
@dataclass(frozen=True, slots=True)
class ThinkingBlock:
    """A model's reasoning; `signature` is the provider's proof of it, sent back unchanged.

    Example:
        >>> ThinkingBlock("It is either Rome or Paris.").signature is None
        True
    """

    thinking: str
    signature: str | None = None


@record
@dataclass(frozen=True, slots=True)
class ToolCallBlock:
    """A model asks for `name(**arguments)`; `id` ties the answer to the call.

    Example:
        >>> ToolCallBlock("1", "weather", {"city": "Rome"}).arguments["city"]
        'Rome'
    """

    id: str
    name: str
    arguments: Mapping[str, Any]


@record
@dataclass(frozen=True, slots=True)
class ImageBlock:
    """An image, as its bytes or as the URL it can be had from.

    Example:
        >>> ImageBlock("https://example.org/map.png").media_type
        'image/png'
    """

    data: bytes | str
    media_type: str = "image/png"


@record
@dataclass(frozen=True, slots=True)
class ExtensionBlock:
    """Content of a kind that procorch does not know, handed through.

    Example:
        >>> ExtensionBlock("audio", b"...").type_name
        'audio'
    """

    type_name: str
    data: Any = None


ContentBlock: TypeAlias = TextBlock | ThinkingBlock | ToolCallBlock | ImageBlock | ExtensionBlock


# Usage, cost and the reason of a stop.


class StopReason(Enum):
    """Why a model's turn, or a whole run, ended.

    Example:
        >>> StopReason("length")
        <StopReason.LENGTH: 'length'>
    """

    STOP = "stop"
    LENGTH = "length"
    TOOL_USE = "tool_use"
    ABORTED = "aborted"
    ERROR = "error"
    TRANSFER = "transfer"


class _Sum:
    """Adds up field by field, with `+` and with `sum`."""

    __slots__ = ()

    def __add__(self, other: object) -> Self:
        if type(other) is not type(self):
            return NotImplemented
        return type(self)(*map(add, _parts(self), _parts(other)))

    def __radd__(self, other: object) -> Self:
        return self if other == 0 else NotImplemented  # sum() begins with 0


_parts = attrgetter("input", "output", "cache_read", "cache_write")


@record
@dataclass(frozen=True, slots=True)
class Usage(_Sum):
    """Tokens; usages add up with `+` and `sum`.

    Example:
        >>> Usage(input=10, output=5) + Usage(input=1)
        Usage(input=11, output=5, cache_read=0, cache_write=0)
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0

    @property
    def total(self) -> int:
        """All tokens together."""
        return self.input + self.output + self.cache_read + self.cache_write


@record
@dataclass(frozen=True, slots=True)
class Cost(_Sum):
    """Money, in US dollars; costs add up with `+` and `sum`.

    Example:
        >>> sum([Cost(input=0.01), Cost(output=0.02)]).total
        0.03
    """

    input: float = 0.0
    output: float = 0.0
    cache_read: float = 0.0
    cache_write: float = 0.0

    @property
    def total(self) -> float:
        """The whole price."""
        return self.input + self.output + self.cache_read + self.cache_write


NO_USAGE: Usage = Usage()
NO_COST: Cost = Cost()


# Messages.


class _Spoken:
    """What the messages with content have in common."""

    __slots__ = ()
    content: Sequence[ContentBlock]

    def __post_init__(self) -> None:
        """Make a tuple of blocks of content that was given as text, as one block or as a list."""
        content: Any = self.content
        if type(content) is not tuple:
            if isinstance(content, str | ContentBlock):
                content = (content,)
            blocks = tuple(TextBlock(it) if isinstance(it, str) else it for it in content)
            object.__setattr__(self, "content", blocks)

    @property
    def text(self) -> str:
        """The text blocks, joined."""
        return "".join([block.text for block in self.content if type(block) is TextBlock])


@record
@dataclass(frozen=True, slots=True)
class UserMessage(_Spoken):
    """What a user says. `cache_hint` tells a provider how to cache the prompt up to here.

    Example:
        >>> UserMessage("hello").text
        'hello'
        >>> UserMessage([TextBlock("what is on "), TextBlock("this map?")]).text
        'what is on this map?'
    """

    content: Sequence[ContentBlock]
    timestamp: float = field(default_factory=time)
    cache_hint: str | None = None


@record
@dataclass(frozen=True, slots=True)
class AssistantMessage(_Spoken):
    """One turn of a model; `error` is the provider's text where `stop_reason` is ERROR.

    Example:
        >>> call = ToolCallBlock("1", "weather", {"city": "Rome"})
        >>> message = AssistantMessage([TextBlock("One moment."), call])
        >>> message.text
        'One moment.'
        >>> [call.name for call in message.tool_calls]
        ['weather']
    """

    content: Sequence[ContentBlock] = ()
    timestamp: float = field(default_factory=time)
    provider: str = ""
    model: str = ""
    usage: Usage = NO_USAGE
    cost: Cost = NO_COST
    stop_reason: StopReason = StopReason.STOP
    error: str | None = None
    cache_hint: str | None = None

    @property
    def tool_calls(self) -> tuple[ToolCallBlock, ...]:
        """The calls that the model asks for, in its order."""
        return tuple(block for block in self.content if isinstance(block, ToolCallBlock))


@record
@dataclass(frozen=True, slots=True)
class ToolResultMessage(_Spoken):
    """What the tool call `tool_call_id` came to; with `is_error` the text says what went wrong.

    Example:
        >>> ToolResultMessage("1", "sunny").text
        'sunny'
    """

    tool_call_id: str
    content: Sequence[ContentBlock]
    timestamp: float = field(default_factory=time)
    is_error: bool = False
    details: Any = None
    cache_hint: str | None = None


@record
@dataclass(frozen=True, slots=True)
class CustomMessage:
    """A message of the caller's own: kept in the conversation, never shown to a model.

    Example:
        >>> CustomMessage({"rating": 5}, kind="feedback").data
        {'rating': 5}
    """

    data: Any
    timestamp: float = field(default_factory=time)
    kind: str = ""


LlmMessage: TypeAlias = UserMessage | AssistantMessage | ToolResultMessage
AgentMessage: TypeAlias = LlmMessage | CustomMessage


def user_text(text: str) -> UserMessage:
    """The message of a user who says `text`, now."""
    return UserMessage((TextBlock(text),))
