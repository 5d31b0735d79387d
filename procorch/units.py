"""Durations, sizes and counts as people write them.

Durations are seconds as numbers or text (``"500ms"``, ``"30s"``, ``"1.5h"``, ``"1h30m"``). Sizes
are bytes as numbers or text (``"512M"``, ``"2G"``: powers of 1024).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_DURATION_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_BARE = re.compile(_NUMBER)
_DURATION = re.compile(
    r"\s*".join(rf"(?:({_NUMBER})\s*{unit}(?![a-z]))?" for unit in _DURATION_UNITS)
)
"""Each unit at most once, the largest first."""
_LONGEST = 1e9
"""Seconds, some thirty years: more, and the system's own waits overflow."""
_PERIODS = {
    **dict.fromkeys(("s", "sec", "second"), "1s"),
    **dict.fromkeys(("m", "min", "minute"), "1m"),
    **dict.fromkeys(("h", "hour"), "1h"),
    **dict.fromkeys(("d", "day"), "1d"),
}
_RAREST, _OFTENEST = 1 / (366 * 86400), 1e6
"""In a second."""
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*$", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_LARGEST = 2**63 - 1
"""Bytes: more, and the kernel's own counts overflow."""


def seconds(value: float | str, what: str = "duration") -> float:
    """A duration in seconds; ``ValueError`` or ``TypeError`` naming ``what`` when it is none."""
    if isinstance(value, str):
        value = _seconds_of(value, what)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} must be a duration, not {type(value).__name__}")
    if not value >= 0:  # what is no number is not, either
        raise ValueError(f"{what} must not be negative, and {value} is")
    if value > _LONGEST:
        raise ValueError(f"{what} is longer than the clocks allow; for no limit, leave it out")
    return float(value)


def _seconds_of(text: str, what: str) -> float:
    bare = text.strip()
    if _BARE.fullmatch(bare):
        return float(bare)
    match = _DURATION.fullmatch(bare)
    if not bare or match is None:
        raise ValueError(f"{what}: {text!r} is not a duration; write 30, '30s', '5m' or '1h30m'")
    parts = zip(match.groups(), _DURATION_UNITS.values(), strict=True)
    return sum(float(number) * unit for number, unit in parts if number is not None)


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


def per_second(value: float | str, what: str = "rate") -> float:
    """A rate as a number a second; ``ValueError`` or ``TypeError`` naming ``what`` when it is none.

    Text has the form ``"10/s"``, ``"600/m"``, ``"0.5/s"``, ``"100/15m"``.
    """
    number: float | str = value
    period = 1.0
    if isinstance(value, str):
        number, slash, unit = value.partition("/")
        try:
            number = float(number)
            period = seconds(_PERIODS.get(unit.strip().lower(), unit) if slash else 1.0)
        except ValueError:
            raise ValueError(
                f"{what}: {value!r} is not a rate; write '10/s', '600/m' or '0.5/s'"
            ) from None
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(f"{what} must be a rate such as '10/s', not {type(value).__name__}")
    if not (number > 0 and period > 0 and _RAREST <= number / period <= _OFTENEST):
        raise ValueError(f"{what} must be from one in a year to a million a second, not {value}")
    return number / period


def share(value: float | str, what: str = "share") -> float:
    """A part of one, 0.02 or ``"2%"``; ``ValueError`` or ``TypeError`` naming ``what`` if none."""
    number: float | str = value
    if isinstance(value, str):
        digits, percent, rest = value.strip().partition("%")
        try:
            number = float(digits) / (100 if percent else 1)
        except ValueError:
            number = -1.0
        if rest:
            number = -1.0
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(f"{what} must be a share such as '2%', not {type(value).__name__}")
    if not 0 <= number < 1:
        raise ValueError(f"{what}: {value!r} is not a share; write '2%' or 0.02")
    return float(number)


def whole(value: object, what: str, *, least: int | None = 0) -> int:
    """A whole number of at least ``least`` (None: any), or an error that names ``what``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be a whole number, not {type(value).__name__}")
    if least is not None and value < least:
        raise ValueError(f"{what} must be {least} or more, not {value}")
    return value


def cpu_numbers(value: object, what: str) -> tuple[int, ...]:
    """Numbers of processors, as a list or as text such as ``"0-3,8"``, in order and once each; or
    an error that names ``what``."""
    if isinstance(value, str):
        numbers = [number for part in value.split(",") for number in _range(part, what, value)]
    elif isinstance(value, Collection) and not isinstance(value, bytes | Mapping):
        numbers = [whole(number, f"a number of {what}") for number in value]
    else:
        raise TypeError(f"{what} must be numbers of processors, not {type(value).__name__}")
    if not numbers:
        raise ValueError(f"{what} must name at least one processor")
    return tuple(sorted(set(numbers)))


def _range(part: str, what: str, value: str) -> range:
    first, dash, last = part.strip().partition("-")
    ends = (first.strip(), (last if dash else first).strip())
    if not all(end.isascii() and end.isdecimal() and len(end) < 6 for end in ends):
        raise ValueError(f"{what}: {value!r} is no list of processors such as '0-3,8'")
    low, high = map(int, ends)
    if low > high:
        raise ValueError(f"{what}: {part.strip()!r} ends before it begins")
    return range(low, high + 1)
