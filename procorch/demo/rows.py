"""What became of an item, as one flat row, and whether that is what should have become of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from procorch.batch.items import BatchItem
from procorch.demo.humaneval import CANONICAL, EXIT, HOG, LOOP, SEGFAULT, Candidate
from procorch.errors import (
    AgentCrashed,
    AgentError,
    AgentFailure,
    MemoryLimitExceeded,
    RequestTimeout,
)

PASSED, FAILED, KILLED = "passed", "failed", "killed"
KEPT, INTERRUPTED, REPLACED = "kept", "interrupted", "replaced"


@dataclass(frozen=True, slots=True)
class Row:
    """One item. Its fields are the keys of ``procorch demo --json``.

    Args:
        index: position of the item, from 0.
        id: name of the problem.
        candidate: its kind, one of `procorch.demo.humaneval.KINDS`, or the model that wrote it.
        outcome: "passed"; "failed": the program raised, or was never written; "killed": it killed
            its worker, or it had to be ended at a limit.
        as_expected: whether the outcome is the one that this kind of candidate should have; what a
            model has written may have any.
        reason: None, "error", "timeout", "crashed", "memory", "serialization" or "cancelled".
        cause: what killed it, or how it failed, in a few words.
        error: the error's whole text.
        agent: name of the agent that had the item.
        pid: its process; None where the error does not tell it.
        signal: name of the signal that ended the process.
        exitcode: exit code of the process.
        worker: what becomes of that process: "kept"; "interrupted": it goes on if the program lets
            go, else it is killed and replaced; "replaced".
        seconds: time the item took in the worker.
        peak_rss: the worker's highest resident size meanwhile, in bytes; None likewise.
        stack: where in the program it happened, as Python tells it: traceback of an exception, or
            stack of a fault; None where there is neither.
        answer: what a model said when it was asked for the program; None: no model did.
        tokens: how many it took to say it.
    """

    index: int
    id: str
    candidate: str
    outcome: str
    as_expected: bool
    reason: str | None = None
    cause: str | None = None
    error: str | None = None
    agent: str | None = None
    pid: int | None = None
    signal: str | None = None
    exitcode: int | None = None
    worker: str = KEPT
    seconds: float | None = None
    peak_rss: int | None = None
    stack: str | None = None
    answer: str | None = None
    tokens: int | None = None


def row_of(candidate: Candidate, item: BatchItem, agent: str) -> Row:
    """The row of one outcome.

    Args:
        agent: name of the agent that had the item.
    """
    error = item.error
    return Row(
        index=candidate.index,
        id=candidate.id,
        candidate=candidate.kind,
        outcome=_outcome(error),
        as_expected=_EXPECTED.get(candidate.kind, _whatever)(error),
        reason=item.reason,
        cause=_cause(error),
        error=None if error is None else str(error),
        agent=agent,
        pid=item.cost.pid,
        signal=getattr(error, "signal", None),
        exitcode=getattr(error, "exitcode", None),
        worker=_worker(error),
        seconds=None if item.cost.wall is None else round(item.cost.wall, 6),
        peak_rss=item.cost.peak_rss,
        stack=None if error is None else _stack(error),
        answer=candidate.answer,
        tokens=candidate.tokens,
    )


def unwritten(item: BatchItem, model: str, agent: str) -> Row:
    """The row of a problem that a model gave no answer to."""
    row = row_of(Candidate(item.id, model, "", item.position), item, agent)
    return replace(row, outcome=FAILED, as_expected=False, cause=f"not written: {row.cause}")


def _outcome(error: AgentError | None) -> str:
    if error is None:
        return PASSED
    return FAILED if _worker(error) == KEPT else KILLED


def _worker(error: AgentError | None) -> str:
    match error:
        case AgentCrashed():
            return REPLACED
        case RequestTimeout(ran=True):
            return INTERRUPTED
        case _:
            return KEPT


def _stack(error: AgentError) -> str | None:
    return getattr(error, "last_stack", "") or error.remote_traceback or None


def _cause(error: AgentError | None) -> str | None:
    match error:
        case None:
            return None
        case MemoryLimitExceeded(limit=int(limit)):
            return f"limit of {limit / 2**20:.0f} MiB"
        case RequestTimeout(timeout=float(timeout)):
            return f"deadline of {timeout:g} s"
        case AgentCrashed(signal=str(signal)):
            return signal
        case AgentCrashed(exitcode=int(exitcode)):
            return f"exit code {exitcode}"
        case AgentFailure(exc_type=kind, exc_str=text):
            return f"{kind.rpartition('.')[2]}: {text}" if text else kind.rpartition(".")[2]
        case _:
            return str(error)


def _whatever(error: AgentError | None) -> bool:
    """Nobody knows what a model's program should come to."""
    return True


def _died(error: AgentError | None, *, signal: str | None, exitcode: int | None) -> bool:
    """Whether the process ended on its own account, in exactly this way."""
    if not isinstance(error, AgentCrashed) or isinstance(error, MemoryLimitExceeded):
        return False
    return (error.signal, error.exitcode) == (signal, exitcode)


_EXPECTED: Mapping[str, Callable[[AgentError | None], bool]] = {
    CANONICAL: lambda error: error is None,
    SEGFAULT: lambda error: _died(error, signal="SIGSEGV", exitcode=None),
    EXIT: lambda error: _died(error, signal=None, exitcode=0),
    LOOP: lambda error: isinstance(error, RequestTimeout) and error.ran,
    HOG: lambda error: isinstance(error, MemoryLimitExceeded),
}
