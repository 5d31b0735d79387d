"""For how long somebody wants to be left alone, in the forms in which that is written."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any

_SECONDS = {"ms": 0.001, "mi": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"\d+(?:\.\d+)?"
_UNIT = (
    r"(?:ms|msecs?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-z])"
)
_NEXT = r"[\s,]*(?:and\s+)?"
_PART = re.compile(rf"({_NUMBER})\s*({_UNIT}){_NEXT}", re.IGNORECASE)
DURATION = rf"(?:{_NUMBER}\s*{_UNIT}{_NEXT})+"
"""A pattern for durations with their units inside a text, such as ``1.5s`` or ``6m0s``."""


def seconds_to_wait(value: Any) -> float | None:
    """Seconds from now, of what is given as a wait.

    Args:
        value: a number of seconds, as text, too; text with units (``"20s"``, ``"6m0s"``,
            ``"120ms"``, ``"2 minutes"``); a date of HTTP (RFC 9110) or ISO 8601; a ``timedelta``
            or ``datetime``.

    Returns:
        The seconds, 0 for a moment that has passed; None for anything else, and for what is less
        than 0 or infinite.
    """
    if isinstance(value, timedelta):
        return _in_range(value.total_seconds())
    if isinstance(value, datetime):
        return _until(value)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        text = value.strip()
        parts = _parts(text)
        if parts is not None:
            return parts
        when = _date(text)
        if when is not None:
            return _until(when)
    try:
        return None if isinstance(value, bool) else _in_range(float(value))
    except (TypeError, ValueError, OverflowError):
        return None


def _parts(text: str) -> float | None:
    """``6m0s``: numbers with units, one after the other."""
    total, at = 0.0, 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            return None
        number, unit = part[1], part[2].lower()
        if unit.startswith("min"):
            unit = "m"
        total += float(number) * (_SECONDS.get(unit[:2]) or _SECONDS[unit[0]])
        at = part.end()
    return _in_range(total) if text else None


def _date(text: str) -> datetime | None:
    if "-" not in text and ":" not in text:  # a bare number may be a date of ISO 8601, too
        return None
    from email.utils import parsedate_to_datetime  # it loads much

    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return read(text)
        except (TypeError, ValueError, IndexError):
            continue
    return None


def _until(when: datetime) -> float | None:
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    try:
        return max(0.0, when.timestamp() - time())
    except (OverflowError, ValueError):
        return None


def _in_range(seconds: float) -> float | None:
    return seconds if 0 <= seconds < float("inf") else None
