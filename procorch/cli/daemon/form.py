"""How the verbs of a daemon write durations, sizes, times, JSON, and text that others wrote."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from procorch.cli import streams

SCHEMA = 1
"""Raised when a field of ``--json`` changes its meaning or goes."""

_CONTROL = re.compile(r"(\x1b\[[0-9;]*m)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))


def emit_json(data: Mapping[str, Any]) -> None:
    """Print one JSON object in one line on standard output."""
    streams.emit(json.dumps({"schema": SCHEMA, **data}, ensure_ascii=False))


def duration(seconds: float | None) -> str:
    """``0.4s``, ``12s``, ``3m05s``, ``2h07m``, ``4d03h``; empty for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    for size, unit, part, part_unit in _UNITS:
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02}{part_unit}"
    return f"{whole}s"


def size(count: float | None) -> str:
    """``512B``, ``1.5K``, ``83M``, ``2.1G`` (powers of 1024); empty for None."""
    if count is None:
        return ""
    for unit in "BKMGT":
        if count < 1024 or unit == "T":
            break
        count /= 1024
    return f"{count:.0f}{unit}" if unit == "B" or count >= 10 else f"{count:.1f}{unit}"


def moment(seconds: float) -> str:
    """A time since the epoch as the local date and time, to the millisecond."""
    day = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    return f"{day}.{int(seconds % 1 * 1000):03}"


def counted(number: int, noun: str) -> str:
    """``1 agent``, ``2 agents``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def visible(text: str) -> str:
    """Text that an agent wrote, for a terminal: colours stay, other control characters are shown
    as ``\\x1b`` instead of being obeyed."""
    return _CONTROL.sub(lambda found: found[1] or f"\\x{ord(found[0]):02x}", text)


def line_of(text: str) -> str:
    """The same in one line and without colours."""
    text = " ".join(text.split())
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
