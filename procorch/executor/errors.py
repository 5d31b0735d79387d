"""Errors as users of `concurrent.futures` know them."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

from procorch.errors import (
    AgentCrashed,
    AgentError,
    AgentFailure,
    AgentHung,
    MemoryLimitExceeded,
    StartError,
)
from procorch.errors.copying import blank, fill, parts_of
from procorch.executor.call import Exit


class RemoteTraceback(Exception):
    """The ``__cause__`` of what a function raised: where it did so, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


class CallCrashed(AgentCrashed, BrokenProcessPool):
    """The worker died of this call. The executor lives on."""


class CallHung(AgentHung, BrokenProcessPool):
    """The worker made no progress and was killed."""


class CallExceededMemory(MemoryLimitExceeded, BrokenProcessPool):
    """The worker exceeded its memory limit and was killed."""


class ExecutorBroken(StartError, BrokenProcessPool):
    """The workers do not start; the initializer may have failed."""


_BROKEN = {
    AgentCrashed: CallCrashed,
    AgentHung: CallHung,
    MemoryLimitExceeded: CallExceededMemory,
    StartError: ExecutorBroken,
}


def translated(error: BaseException) -> BaseException:
    """What the caller of a function gets for an error of its worker: the function's own exception
    where it loads here, and of a death one that is a ``BrokenProcessPool``, too."""
    if isinstance(error, AgentFailure) and error.__cause__ is not None:
        original = error.__cause__
        if isinstance(original, Exit):
            original = SystemExit(original.code)
        original.__cause__ = RemoteTraceback(error.remote_traceback)
        return original
    broken = _BROKEN.get(type(error)) if isinstance(error, AgentError) else None
    if broken is None:
        return error
    assert isinstance(error, AgentError)
    return fill(blank(broken), parts_of(error))
