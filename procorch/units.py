"""Durations, sizes and counts as people write them.

Durations are seconds as numbers or text (``"500ms"``, ``"30s"``, ``"5m"``, ``"2h"``), sizes are
bytes as numbers or text (``"512M"``, ``"2G"``: powers of 1024).
"""

from __future__ import annotations

import re

_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*$")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}
_LONGEST = 1e9
"""Seconds, some thirty years: more, and the system's own waits overflow."""
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*$", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_LARGEST = 2**63 - 1
"""Bytes: more, and the kernel's own counts overflow."""


def seconds(value: float | str, what: str = "duration") -> float:
    """A duration in seconds; ``ValueError`` or ``TypeError`` naming ``what`` when it is none."""
    if isinstance(value, str):
        match = _DURATION.match(value)
        if match is None:
            raise ValueError(f"{what}: {value!r} is not a duration; write 30, '30s', '5m' or '2h'")
        value = float(match[1]) * _DURATION_UNITS[match[2]]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} must be a duration, not {type(value).__name__}")
    if not value >= 0:  # what is no number is not, either
        raise ValueError(f"{what} must not be negative, and {value} is")
    if value > _LONGEST:
        raise ValueError(f"{what} is longer than the clocks allow; for no limit, leave it out")
    return float(value)


def size_in_bytes(value: int | str, what: str = "size") -> int:
    """A size in bytes; ``ValueError`` or ``TypeError`` naming ``what`` when it is none."""
    if isinstance(value, str):
        match = _SIZE.match(value)
        if match is None:
            raise ValueError(f"{what}: {value!r} is not a size; write 1048576, '512M' or '2G'")
        value = int(min(float(match[1]), _LARGEST + 1) * _SIZE_UNITS[match[2].upper()])
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be a size in bytes, not {type(value).__name__}")
    if value <= 0:
        raise ValueError(f"{what} must be more than 0 bytes, not {value}")
    if value > _LARGEST:
        raise ValueError(f"{what} is more than any memory; for no limit, leave it out")
    return value


def whole(value: object, what: str, *, least: int = 0) -> int:
    """A whole number of at least ``least``, or an error that names ``what``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be a whole number, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{what} must be {least} or more, not {value}")
    return value
