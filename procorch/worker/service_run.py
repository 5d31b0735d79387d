"""The request that the worker of a service begins by itself, and what it says if that fails."""

from __future__ import annotations

from typing import Any

from procorch.errors import StartError
from procorch.errors.plain_data import from_plain, to_plain
from procorch.wire import codec, headers
from procorch.wire.frame import Frame, Kind
from procorch.worker.error_reply import error_head


def frame(number: int, generation: int) -> Frame:
    """The request with that number, as if the parent had sent it."""
    head = headers.encode(headers.RequestHead(False, None))
    body = b"".join(codec.encode(None, what="request"))
    return Frame(Kind.REQUEST, generation, number, head, body)


def failed_start(agent: str, failure: dict[str, Any] | None) -> tuple[Kind, int, bytes]:
    """The frame for a service that ended before it was ready (N9).

    Args:
        failure: the error that it raised, as plain data; None: it returned.
    """
    if failure is None:
        error = StartError(
            f"agent {agent!r} returned before it called current().ready()",
            agent=agent,
            phase="run",
        )
    else:
        figures = failure["figures"]
        error = StartError(
            agent=agent,
            phase="run",
            exc_type=figures.get("exc_type") or failure["class"],
            exc_str=figures.get("exc_str") or str(from_plain(failure)),
            remote_traceback=figures.get("remote_traceback", ""),
        )
    return Kind.FAILED_START, 0, error_head(to_plain(error))
