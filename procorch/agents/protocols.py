"""What a factory may return, for type checkers: they learn from it what goes in and comes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from procorch.messages import Out

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # of the type checker: nothing is installed for it

    In = TypeVar("In", contravariant=True, default=Any)
else:
    from typing import TypeVar

    In = TypeVar("In", contravariant=True)


class Handles(Protocol[In, Out]):
    """An agent with a method `handle`."""

    def handle(self, message: In, /) -> Out:
        """Answer one message."""
        ...


class HandlesAsync(Protocol[In, Out]):
    """An agent with an asynchronous method `handle`."""

    def handle(self, message: In, /) -> Awaitable[Out]:
        """Answer one message."""
        ...


class Prompts(Protocol[In, Out]):
    """An agent with a method `prompt`."""

    def prompt(self, messages: In, /) -> Out:
        """Answer messages."""
        ...


class PromptsAsync(Protocol[In, Out]):
    """An agent with an asynchronous method `prompt`."""

    def prompt(self, messages: In, /) -> Awaitable[Out]:
        """Answer messages."""
        ...


Factory: TypeAlias = Callable[[], Callable[[In], Out] | Handles[In, Out] | Prompts[In, Out]]
AsyncFactory: TypeAlias = Callable[
    [], Callable[[In], Awaitable[Out]] | HandlesAsync[In, Out] | PromptsAsync[In, Out]
]
