"""Limits that a comparison must keep, for continuous integration: ``slower:10%,memory:20%``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from procorch.bench.comparison import Comparison

FIGURES: Mapping[str, str] = {
    "slower": "wall",
    "cpu": "cpu",
    "memory": "peak_rss",
    "cold": "cold",
    "start": "start",
}
"""What can be limited, and the ratio of a `Comparison` it is about; ``fails`` is one of its own."""
_FAILS = "fails"


class Limit(NamedTuple):
    """How much worse a figure may become.

    Args:
        name: a key of `FIGURES`, or ``fails``: the share of runs that fail.
        most: 0.1 allows for ten percent.
    """

    name: str
    most: float


def read(text: str) -> list[Limit]:
    """Limits as people write them.

    Args:
        text: ``NAME:PERCENT%`` pairs, separated by commas.

    Raises:
        ValueError: it is not of that form, with what is wrong.
    """
    return [_read_one(part.strip()) for part in text.split(",")]


def _read_one(text: str) -> Limit:
    name, colon, amount = text.partition(":")
    names = [*FIGURES, _FAILS]
    if name not in names:
        raise ValueError(f"{name!r} cannot be limited; what can: {', '.join(names)}")
    if not colon or not amount.endswith("%"):
        raise ValueError(f"{text!r}: write the limit in percent, as in {name}:10%")
    try:
        most = float(amount[:-1]) / 100
    except ValueError:
        raise ValueError(f"{text!r}: {amount[:-1]!r} is no number") from None
    if not 0 <= most < float("inf"):
        raise ValueError(f"{text!r}: a limit is 0 % or more")
    return Limit(name, most)


def passed(comparison: Comparison, limits: Sequence[Limit]) -> list[str]:
    """The limits that ``comparison.b`` has passed, in words; empty where it keeps all of them.

    A limit is passed where a difference can be claimed, and the ratio is beyond the limit. One of
    code that is equal is thus passed in at most 5 of 100 cases.
    """
    found = []
    for limit in limits:
        words = _failing(comparison, limit) if limit.name == _FAILS else _worse(comparison, limit)
        if words:
            found.append(f"{comparison.b.name}: {words}; the limit is {limit.most * 100:.4g} %")
    return found


def _worse(comparison: Comparison, limit: Limit) -> str:
    try:
        ratio = comparison.decisive if limit.name == "slower" else getattr(
            comparison, FIGURES[limit.name]
        )  # fmt: skip
    except ValueError:
        return ""  # no run has that figure: what fails is for `fails` and the exit code to say
    if not ratio.differs or ratio.value <= 1 + limit.most:
        return ""
    return f"{limit.name} by {ratio.value - 1:.1%}"


def _failing(comparison: Comparison, limit: Limit) -> str:
    shares = [len(m.failures) / m.tried if m.tried else 0.0 for m in (comparison.a, comparison.b)]
    if shares[1] - shares[0] <= limit.most:
        return ""
    return f"{shares[1]:.1%} of its runs fail, {shares[0]:.1%} did"
