"""The future of a call."""

from __future__ import annotations

from typing import TypeVar

from procorch.api.handle import ValueReply
from procorch.errors import AgentError
from procorch.executor.errors import translated

T = TypeVar("T")


class CallFuture(ValueReply[T]):
    """A `concurrent.futures.Future`: ``result()`` is what the function returned, or raises what it
    raised, with the traceback of the worker as its ``__cause__``.

    Beyond the standard library's: it can be awaited; ``cancel()`` ends a call that runs, too;
    ``metrics`` has the figures of the call.
    """

    def convert_error(self, error: AgentError) -> BaseException:
        """See `Reply.convert_error`."""
        return translated(error)
