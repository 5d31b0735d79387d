"""What a client of the daemon gets: results and errors, made of the plain data of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from procorch.daemon.control.protocol import Problem
from procorch.daemon.errors import DaemonError, rebuild
from procorch.errors import AgentError, AgentFailure
from procorch.errors.plain_data import from_plain
from procorch.messages import Cost, RequestMetrics, Usage

_T = TypeVar("_T")
_Record = TypeVar("_Record", Usage, Cost, RequestMetrics)


@dataclass(frozen=True, slots=True)
class RemoteResult:
    """What a request to an agent of a daemon came to.

    Args:
        id: the number of the request.
        text: all that the agent said.
        output: what the agent returned, as far as JSON holds it.
        usage: tokens.
        cost: money.
        metrics: times and sizes; None: nothing is known.

    Example:
        >>> RemoteResult(id=7, text="Rome").text
        'Rome'
    """

    id: int | None = None
    text: str = ""
    output: Any = None
    usage: Usage = field(default_factory=Usage)
    cost: Cost = field(default_factory=Cost)
    metrics: RequestMetrics | None = None


def result_of(row: Mapping[str, Any]) -> RemoteResult:
    """The result of a request, from the row that the daemon answers.

    Raises:
        AgentError: the request failed; the error is of the class that the daemon had.
    """
    if row.get("state") != "done":
        raise failure_of(row)
    return RemoteResult(
        row.get("id"),
        row.get("text") or "",
        row.get("output"),
        _record(Usage, row.get("usage")) or Usage(),
        _record(Cost, row.get("cost")) or Cost(),
        _record(RequestMetrics, row.get("metrics")),
    )


def failure_of(row: Mapping[str, Any]) -> AgentError:
    """The error of a request that failed, from the row that the daemon answers."""
    plain = row.get("error")
    error = from_plain(plain) if isinstance(plain, dict) else AgentFailure("the request failed")
    spent = {"usage": _record(Usage, row.get("usage")), "cost": _record(Cost, row.get("cost"))}
    for name, value in spent.items():
        if value is not None:
            setattr(error, name, value)
    return error


def closed_too_early() -> DaemonError:
    """There is no result."""
    return DaemonError("the stream was closed before its end")


def error_of(problem: Problem) -> DaemonError | AgentError:
    """The error that the daemon has described."""
    if problem.plain is not None:
        return from_plain(problem.plain)
    return rebuild(problem.type, problem.message, problem.code)


def value_as(kind: type[_T], value: Any) -> _T:
    """The value of an answer, checked.

    Raises:
        DaemonError: it is something else than this version expects.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise DaemonError(f"the daemon's answer cannot be read: {error}") from None


def _record(kind: type[_Record], values: Any) -> _Record | None:
    if not isinstance(values, Mapping):
        return None
    # A daemon of another version may know other fields.
    return kind(**{name: values[name] for name in kind.__match_args__ if name in values})
