"""The future of a call."""

from __future__ import annotations

from procorch.executor.errors import translated
from procorch.handle import ValueReply


class CallFuture(ValueReply):
    """A `concurrent.futures.Future`: ``result()`` is what the function returned, or raises what it
    raised, with the traceback of the worker as its ``__cause__``.

    Beyond the standard library's: it can be awaited; ``cancel()`` ends a call that runs, too;
    ``metrics`` has the figures of the call.
    """

    _translated: BaseException | None = None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raised, or None."""
        error = super().exception(timeout)
        if error is not None and self._translated is None:
            self._translated = translated(error)
        return self._translated
