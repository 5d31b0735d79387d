"""The W3C trace context of requests: spans of one process join those of another.

It is one line of text, a `traceparent`: https://www.w3.org/TR/trace-context/. OpenTelemetry is
asked where it is installed, and never needed.
"""

from __future__ import annotations

import re
import sys
from typing import Any

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def checked(traceparent: str) -> str:
    """A `traceparent` that somebody has given.

    Raises:
        TypeError: it is no text.
        ValueError: it has not the form of one.
    """
    if not isinstance(traceparent, str):
        raise TypeError(f"traceparent is text, not {type(traceparent).__name__}")
    if _FORM.fullmatch(traceparent) is None:
        raise ValueError(
            f"{traceparent!r} is no traceparent: it has the form 00-<trace>-<span>-<flags>, with "
            "2, 32, 16 and 2 hexadecimal digits in lower case"
        )
    return traceparent


def of_this_place() -> str | None:
    """The `traceparent` of OpenTelemetry's span that is under way here; None: there is none."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:  # a program that does not use it need not import it
        return None
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}"


def trace_id(traceparent: str) -> str:
    """The part that all spans of a trace have in common, 32 hexadecimal digits."""
    return traceparent.split("-")[1]


def join(traceparent: str | None) -> Any:
    """Make spans that begin here, from now on, children of that one.

    Returns:
        What `leave` takes; None where there is nothing to leave.
    """
    if traceparent is None:
        return None
    try:
        from opentelemetry import context, trace
    except ImportError:
        return None
    _, trace_number, span, flags = traceparent.split("-")
    parent = trace.SpanContext(
        int(trace_number, 16),
        int(span, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(int(flags, 16)),
    )
    return context.attach(trace.set_span_in_context(trace.NonRecordingSpan(parent)))


def leave(joined: Any) -> None:
    """Undo `join`."""
    if joined is not None:
        from opentelemetry import context

        context.detach(joined)
