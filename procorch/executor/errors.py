"""Errors as users of `concurrent.futures` know them."""

from __future__ import annotations

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
    SerializationError,
    StartError,
)
from procorch.errors.copying import blank, fill, parts_of, set_cause
from procorch.errors.texts import text_of
from procorch.executor.call import Exit


class CallCrashed(AgentCrashed, BrokenProcessPool):
    """The worker died of this call. The executor lives on."""


class CallHung(AgentHung, BrokenProcessPool):
    """The worker made no progress and was killed."""


class CallExceededMemory(MemoryLimitExceeded, BrokenProcessPool):
    """The worker exceeded its memory limit and was killed."""


class CallPoisonous(PoisonRequest, BrokenProcessPool):
    """The call killed several workers and is not tried again."""


class ExecutorBroken(StartError, BrokenProcessPool):
    """The workers do not start; the initializer may have failed."""


class ExecutorStopped(AgentStopped, BrokenProcessPool):
    """There are no workers any more: the call did not run."""


class CallNotSerialised(SerializationError, PicklingError):
    """The call, or what it returned, cannot be serialised."""


class CallTooLarge(MessageTooLarge, PicklingError):
    """The call, or what it returned, is larger than ``max_message``."""


_AS_KNOWN: dict[type[AgentError], type[AgentError]] = {
    AgentCrashed: CallCrashed,
    AgentHung: CallHung,
    MemoryLimitExceeded: CallExceededMemory,
    PoisonRequest: CallPoisonous,
    StartError: ExecutorBroken,
    AgentStopped: ExecutorStopped,
    SerializationError: CallNotSerialised,
    MessageTooLarge: CallTooLarge,
}

_NOT_SENT: dict[str, type[BaseException]] = {
    "MemoryError": MemoryError,
    "RecursionError": RecursionError,
}
"""Exceptions that a worker in such a state may not have been able to serialise."""


def translated(error: BaseException) -> BaseException:
    """What the caller of a function gets for an error of its worker: the function's own exception
    where it loads here, and for errors of procorch one of a class that users of the standard
    library's executors handle, too."""
    if isinstance(error, AgentFailure):
        return _of_function(error)
    known = _AS_KNOWN.get(type(error)) if isinstance(error, AgentError) else None
    if known is None:
        return error
    assert isinstance(error, AgentError)
    return fill(blank(known), parts_of(error))


def _of_function(failure: AgentFailure) -> BaseException:
    original = failure.__cause__
    if original is None:
        if failure.exc_type not in _NOT_SENT:
            return failure
        original = _NOT_SENT[failure.exc_type](*filter(None, [failure.exc_str]))
    if isinstance(original, Exit):
        original = SystemExit(original.code)
    # As the standard library does it: where the function raised, as text.
    shown = f'\n"""\n{failure.remote_traceback}"""'
    set_cause(original, _RemoteTraceback(shown))  # type: ignore[arg-type]
    if not isinstance(original, StopIteration):
        return original
    # It would end the iteration of whoever asks for the result in silence, and no asyncio future
    # takes it. As out of a generator (PEP 479), it comes as the cause of another exception.
    stopped = RuntimeError("the function raised StopIteration")
    set_cause(stopped, original)
    return stopped


def broken_by(failure: BaseException, name: str) -> BaseException:
    """The error of an executor whose workers have ended for good, with the reason in its text."""
    cause: BaseException | None = failure
    while cause is not None and not isinstance(cause, StartError):
        cause = cause.__cause__
    if cause is not None:
        return translated(cause)
    stopped = ExecutorStopped(f"the workers of {name!r} have ended: {text_of(failure)}", agent=name)
    set_cause(stopped, failure)
    return stopped
