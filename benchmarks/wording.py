"""Figures as people read them."""

from __future__ import annotations

from benchmarks.figures import Outcome, Series, Verdict

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_FOR_A_TAIL = 50
"""Measurements below which a 99th percentile is only the worst of them."""


def figure(value: float, unit: str) -> str:
    """A value with its unit, three digits of it."""
    if unit == "s":
        for size, name in _TIMES:
            if abs(value) >= size:
                return f"{_digits(value / size)} {name}"
        return f"{_digits(value / 1e-6)} µs"
    if unit == "B":
        for size, name in _SIZES:
            if abs(value) >= size:
                return f"{_digits(value / size)} {name}"
        return f"{value:.0f} B"
    text = f"{value:.2f}" if unit == "x" and 0.1 <= value < 10 else _digits(value)
    return f"{text} {unit}" if unit else text


def _digits(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def tail(each: Series) -> str:
    """The 99th percentile, where there are enough measurements to speak of one."""
    return figure(each.p99, each.unit) if each.count >= _FOR_A_TAIL else ""


def spread(each: Series) -> str:
    """The deviation of the rounds as a part of the median."""
    if len(each.rounds) < 2 or not each.median:
        return ""
    return f"± {100 * each.mad / abs(each.median):.0f} %"


def mark(verdict: Verdict, value: float | None) -> str:
    """A target or stretch as it is written: "at most 1.50 x"."""
    if value is None:
        return ""
    if verdict.how == "over":
        return f"+{figure(value, verdict.unit)}"
    sign = "≥" if verdict.how == "faster" else "≤"
    return f"{sign} {figure(value, verdict.unit)}"


def measured(verdict: Verdict) -> str:
    """The figure of a verdict with its spread."""
    if verdict.figure is None:
        return "not measured"
    sign = "+" if verdict.how == "over" and verdict.figure >= 0 else ""
    text = sign + figure(verdict.figure, verdict.unit)
    if not verdict.mad:
        return text
    if verdict.how == "over":  # a difference may be next to nothing
        return f"{text} ± {figure(verdict.mad, verdict.unit)}"
    return f"{text} ± {100 * verdict.mad / verdict.figure:.0f} %"


def compared(verdict: Verdict) -> str:
    """What the figure is."""
    what = "" if verdict.metric in ("time", "rate") else verdict.metric
    if verdict.of != "procorch":
        what = f"{verdict.of} {what}".strip()
    if verdict.tail:
        what = f"{what} p99".strip()
    how = {"times": "the time of", "faster": "the speed of", "over": "over", "within": ""}[
        verdict.how
    ]
    return f"{what} {how} {verdict.against}".strip() if how else what


def met(reached: bool | None) -> str:
    """Met, missed, or nothing."""
    return "" if reached is None else "met" if reached else "missed"


def scale(outcome: Outcome) -> str:
    """How much was done."""
    rounds = "1 round" if outcome.rounds == 1 else f"{outcome.rounds} rounds"
    return f"{rounds} of {outcome.size:,} {outcome.amount}"
