"""Errors of procorch as errors that users of `concurrent.futures` already handle."""

from __future__ import annotations

from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from pickle import PicklingError

from procorch.errors import (
    AgentCrashed,
    AgentError,
    AgentFailure,
    AgentHung,
    AgentStopped,
    MemoryLimitExceeded,
    MessageTooLarge,
    PoisonRequest,
    RequestCancelled,
    SerializationError,
    StartError,
)
from procorch.errors.copying import blank, fill, parts_of, set_cause
from procorch.errors.texts import text_of
from procorch.executor.call import FunctionExit


class CallCrashed(AgentCrashed, BrokenProcessPool):
    """The worker died during this call. The executor goes on."""


class CallHung(AgentHung, BrokenProcessPool):
    """The worker made no progress and was killed."""


class CallExceededMemory(MemoryLimitExceeded, BrokenProcessPool):
    """The worker exceeded its memory limit and was killed."""


class CallPoisonous(PoisonRequest, BrokenProcessPool):
    """The call killed several workers, and is not tried again."""


class ExecutorBroken(StartError, BrokenProcessPool):
    """The workers do not start; the initializer may have failed."""


class ExecutorStopped(AgentStopped, BrokenProcessPool):
    """All workers have ended, so the call did not run."""


class CallNotSerialised(SerializationError, PicklingError):
    """The call, or what it returned, cannot be serialised."""


class CallTooLarge(MessageTooLarge, PicklingError):
    """The call, or what it returned, is larger than ``max_message``."""


class CallCancelled(RequestCancelled, CancelledError):
    """The call had not begun when the executor was shut down."""


_CLASSES: dict[type[AgentError], type[AgentError]] = {
    AgentCrashed: CallCrashed,
    AgentHung: CallHung,
    MemoryLimitExceeded: CallExceededMemory,
    PoisonRequest: CallPoisonous,
    StartError: ExecutorBroken,
    AgentStopped: ExecutorStopped,
    SerializationError: CallNotSerialised,
    MessageTooLarge: CallTooLarge,
    RequestCancelled: CallCancelled,
}

_NOT_SENT: dict[str, type[BaseException]] = {
    "MemoryError": MemoryError,
    "RecursionError": RecursionError,
}
"""Exceptions that a worker may have been unable to serialise; they are made again here."""


def translated(error: BaseException) -> BaseException:
    """Make the exception that the caller of a function gets.

    An exception of the function itself is given as it was raised, if it can be loaded here. An
    error of procorch becomes one of a class that is also a class of `concurrent.futures`.
    """
    if isinstance(error, AgentFailure):
        return _of_function(error)
    kind = _CLASSES.get(type(error)) if isinstance(error, AgentError) else None
    if kind is None:
        return error
    assert isinstance(error, AgentError)
    return fill(blank(kind), parts_of(error))


def _of_function(failure: AgentFailure) -> BaseException:
    original = failure.__cause__
    if original is None:
        if failure.exc_type not in _NOT_SENT:
            return failure
        original = _NOT_SENT[failure.exc_type](*filter(None, [failure.exc_str]))
    if isinstance(original, FunctionExit):
        original = SystemExit(original.code)
    # As in the standard library: the traceback of the worker, as text.
    shown = f'\n"""\n{failure.remote_traceback}"""'
    set_cause(original, _RemoteTraceback(shown))  # type: ignore[arg-type]
    if not isinstance(original, StopIteration):
        return original
    # It would silently end the iteration in which the result is asked for, and asyncio futures
    # refuse it. As with generators (PEP 479), it becomes the cause of another exception.
    stopped = RuntimeError("the function raised StopIteration")
    set_cause(stopped, original)
    return stopped


def broken_by(failure: BaseException, name: str) -> BaseException:
    """The error of an executor whose workers have all ended; its text has the reason."""
    cause: BaseException | None = failure
    while cause is not None and not isinstance(cause, StartError):
        cause = cause.__cause__
    if cause is not None:
        return translated(cause)
    stopped = ExecutorStopped(f"the workers of {name!r} have ended: {text_of(failure)}", agent=name)
    set_cause(stopped, failure)
    return stopped
