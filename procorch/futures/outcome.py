"""The outcome of a request, as the monitor knows it: its body is not decoded."""

from __future__ import annotations

import contextlib
from typing import Any

from msgspec import Struct

from procorch.errors import AgentError, SerializationError
from procorch.errors.copying import add_note, set_cause
from procorch.wire import codec
from procorch.wire.payload import Buffer, Content, unpack


class ReplyOutcome(Struct, eq=False):
    """Metrics, the error of a request that failed, and the undecoded body of the reply.

    A struct, without the metrics that are made when they are asked for: the monitor makes one of
    these for each request.

    Args:
        figures: the fields of the `RequestMetrics`, in their order; None: nothing is known.
        used: usage and cost of the model, see `procorch.wire.used`; None: nothing is known.
        withdrawn: the request was taken out of its queue; its future is cancelled.
        decoding: a thread has begun to decode the body.
    """

    figures: tuple[Any, ...] | None = None
    error: AgentError | None = None
    body: Content = b""
    stdout: str = ""
    stderr: str = ""
    used: list[int | float] | None = None
    withdrawn: bool = False
    decoding: bool = False


def unpack_body(outcome: ReplyOutcome, agent: str) -> None:
    """Map the body now, so that a reply whose result is never asked for holds no descriptor."""
    try:
        outcome.body = unpack(outcome.body)
    except SerializationError as error:
        error.agent = agent
        error.may_have_executed = True
        outcome.body = b""
        outcome.error = outcome.error or error


def with_original(error: AgentError, body: Buffer) -> AgentError:
    """The error with the original exception, where the worker has sent it and it loads here.

    An original that is an `AgentError` itself takes the place of ``error``; any other becomes its
    ``__cause__``.
    """
    if not len(body):
        return error
    try:
        original = codec.decode(body)
    except AgentError as failure:
        add_note(error, f"the original exception does not load here: {failure}")
        return error
    if isinstance(original, AgentError):
        # ``error`` has the notes of the original, and one more: where in the worker it was raised.
        known = getattr(original, "__notes__", ())
        for note in getattr(error, "__notes__", ()):
            if note not in known:
                add_note(original, note)
        with contextlib.suppress(AttributeError):  # a subclass may have made it read-only
            object.__setattr__(original, "may_have_executed", error.may_have_executed)
        return original
    if isinstance(original, BaseException):
        set_cause(error, original)
    return error
