"""Why an item failed: the reason in a word, and the place in the code."""

from __future__ import annotations

import re

from procorch.errors import (
    Aborted,
    AgentCrashed,
    AgentError,
    AgentFailure,
    CommandFailed,
    MemoryLimitExceeded,
    MessageTooLarge,
    PoisonRequest,
    RequestTimeout,
    SerializationError,
    StartError,
    UnknownField,
)

REASONS = (
    "error",
    "timeout",
    "crashed",
    "memory",
    "serialization",
    "cancelled",
    "poison",
)
"""All reasons for which items fail; values of `BatchItem.reason`."""

_FRAME = re.compile(r'^\s*File "(.+)", line (\d+),? in (.+)$', re.MULTILINE)
_LIBRARY = ("/procorch/", "/lib/python3", "/site-packages/", "<")


def reason_of(error: AgentError) -> str:
    """The reason of a failure, one of `REASONS`."""
    match error:
        case PoisonRequest():
            return "poison"
        case MemoryLimitExceeded():
            return "memory"
        case AgentCrashed():
            return "crashed"
        case RequestTimeout():
            return "timeout"
        case SerializationError() | MessageTooLarge():
            return "serialization"
        case Aborted():
            return "cancelled"
        case _:
            return "error"


def place_of(error: AgentError) -> str:
    """The cause and the place in the user's code; failures are grouped by reason and place."""
    match error:
        case PoisonRequest(deaths=deaths) if deaths:
            return f"killed its workers, last by {place_of(deaths[-1])}"
        case MemoryLimitExceeded(limit=int(limit)):
            return f"limit of {limit / 2**20:.0f} MiB"
        case AgentCrashed():
            cause = error.signal or f"exit code {error.exitcode}"
            if error.exitcode is None and error.signal is None:
                cause = "exit status unknown"
            return _at(cause, _frame(error.last_stack, innermost_first=True))
        case RequestTimeout(timeout=float(timeout)):
            return f"deadline of {timeout:g} s"
        case CommandFailed():
            return error.what.partition(":")[0]
        case UnknownField(field=name):
            return f"no field {name!r}"
        case AgentFailure(exc_type=kind) | StartError(exc_type=kind) if kind:
            return _at(kind.rpartition(".")[2], _frame(error.remote_traceback))
        case _:
            return _at(type(error).__name__, _frame(error.remote_traceback))


def _at(cause: str, frame: str | None) -> str:
    return cause if frame is None else f"{cause} at {frame}"


def _frame(text: str, *, innermost_first: bool = False) -> str | None:
    """``agent.py:9 in handle``: the innermost frame of the user's own code, or of any."""
    frames = _FRAME.findall(text)
    if not innermost_first:
        frames.reverse()
    own = [each for each in frames if not any(part in each[0] for part in _LIBRARY)]
    for path, line, function in own or frames:
        name = path.rpartition("/")[2] if path.endswith(".py") else path
        return f"{name}:{line} in {function}"
    return None
