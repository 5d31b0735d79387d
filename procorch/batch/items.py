"""An item on its way: as it is read, as it is remembered, as the user gets it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from procorch.errors import (
    Aborted,
    AgentCrashed,
    AgentError,
    AgentFailure,
    MemoryLimitExceeded,
    MessageTooLarge,
    PoisonRequest,
    RequestTimeout,
    SerializationError,
    StartError,
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
"""Why items fail."""

_FRAME = re.compile(r'^\s*File "(.+)", line (\d+),? in (.+)$', re.MULTILINE)
_LIBRARY = ("/procorch/", "/lib/python3", "/site-packages/", "<")


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One item as it was read.

    Args:
        id: its name, unique in the input.
        value: what the agent is given.
        position: place in the input, from 0.
        where: where it stands, for a person: "questions.jsonl:17".
        more: what else makes it what it is, such as the size and time of a file.
    """

    id: str
    value: Any
    position: int
    where: str
    more: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemCost:
    """What the last attempt at an item cost; None: the worker did not live to tell.

    Args:
        wall: seconds, ``cpu`` user and system time of them.
        peak_rss: resident bytes of the worker at most.
        pid: its process.
    """

    wall: float | None = None
    cpu: float | None = None
    peak_rss: int | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One item with its final outcome.

    Args:
        id: its name.
        ok: whether it succeeded.
        output: what the agent returned; None where it failed.
        error: why it failed; None where it succeeded.
        reason: the failure in a word, one of "error", "timeout", "crashed", "memory",
            "serialization", "cancelled", "poison"; None where it succeeded.
        place: what it died of, and where in the code; None where it succeeded.
        attempts: how often it was tried, earlier runs of the batch included.
        position: place in the input, from 0.
        resumed: its outcome is that of an earlier run of the batch.
        cost: what the last attempt cost.
        log: what was written on standard output and error during the last attempt.
    """

    id: str
    ok: bool
    output: Any
    error: AgentError | None
    reason: str | None
    place: str | None
    attempts: int
    position: int
    resumed: bool = False
    cost: ItemCost = ItemCost()
    log: str = ""


class Row(msgspec.Struct, kw_only=True):
    """A final outcome as the journal keeps it; the fields are its columns.

    Args:
        digest: hash of the input.
        place: where in the code it failed, or what it died of.
        error: the error as plain data, JSON.
        output: JSON text or a pickle, see `values`.
        wall: seconds in the worker, ``cpu`` user and system time of them.
        finished: when, Unix seconds.
        epoch: of the runner that wrote it.
        input: of what failed, so that it can be tried again by itself; JSON text.
        log: what was written on descriptors 1 and 2 meanwhile.
    """

    id: str
    position: int
    digest: bytes
    ok: bool
    reason: str | None = None
    place: str | None = None
    error: str | None = None
    output: str | bytes | None = None
    attempts: int = 1
    wall: float | None = None
    cpu: float | None = None
    peak_rss: int | None = None
    pid: int | None = None
    finished: float = 0.0
    epoch: int = 0
    input: str | None = None
    log: str = ""


class Attempt(msgspec.Struct, kw_only=True):
    """An attempt that failed; of one that succeeded the `Row` tells everything."""

    id: str
    number: int
    reason: str
    place: str
    error: str
    wall: float | None = None
    cpu: float | None = None
    peak_rss: int | None = None
    pid: int | None = None
    finished: float = 0.0
    epoch: int = 0
    log: str = ""


def reason_of(error: AgentError) -> str:
    """The failure in a word, one of `REASONS`."""
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
    """What failures are grouped by beside their reason: the cause, and where in the user's code."""
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
