"""The future of a call."""

from __future__ import annotations

from typing import TypeVar

from procorch.errors import AgentError
from procorch.executor.errors import translated
from procorch.futures.reply import ValueReply

T = TypeVar("T")


class CallFuture(ValueReply[T]):
    """A `concurrent.futures.Future` of a call.

    ``result()`` returns what the function returned, or raises what it raised, with the traceback of
    the worker as ``__cause__``. Beyond the standard library's future, it can be awaited,
    ``cancel()`` also ends a call that runs, and ``metrics`` has the figures of the call.
    """

    def convert_error(self, error: AgentError) -> BaseException:
        """See `Reply.convert_error`."""
        return translated(error)
