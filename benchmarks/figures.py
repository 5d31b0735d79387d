"""What a run found, as data: medians with their spread, and how far the goals were reached.

The spread is the median absolute deviation of the rounds. A ratio is taken round by round, ours to
the reference of the same round, and the figure is the median of those: what slows the machine down
for a second slows both.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from benchmarks.rows import Goal, Metric, Row, Samples

FORMAT = 1
"""Of the JSON; a reader refuses others."""


@dataclass(frozen=True)
class Series:
    """One metric of one contender.

    Args:
        rounds: the median of each round, in the metric's unit.
        mad: median absolute deviation of ``rounds``.
        p99: 99th percentile of all measurements of all rounds, ``count`` in number.
    """

    contender: str
    metric: str
    unit: str
    better: str
    rounds: list[float]
    median: float
    mad: float
    p99: float
    count: int


@dataclass(frozen=True)
class Verdict:
    """A goal, and what became of it.

    Args:
        against: the reference that was the best; empty where the goal has none.
        unit: of the figures: "x" for a ratio, else the metric's.
        figure: None where it could not be measured.
        target_met: None where there is no target, or no figure.
    """

    metric: str
    how: str
    of: str
    against: str
    unit: str
    tail: bool
    target: float | None
    stretch: float | None
    figure: float | None
    mad: float
    target_met: bool | None
    stretch_met: bool | None


@dataclass(frozen=True)
class Outcome:
    """All that is known of one row.

    Args:
        left_out: for each contender that has no figures the reason.
    """

    id: str
    work: str
    amount: str
    rounds: int
    size: int
    seconds: float
    series: list[Series]
    verdicts: list[Verdict]
    left_out: dict[str, str]
    notes: list[str]


@dataclass(frozen=True)
class Machine:
    """Where and when it was measured."""

    cpu: str
    cores: int
    cores_usable: int
    memory: int
    memory_free: int
    kernel: str
    load_before: list[float]
    load_after: list[float]
    started: str


@dataclass(frozen=True)
class Report:
    """A run.

    Args:
        scale: "full", "quick" or "smoke".
        seconds: how long it took.
    """

    scale: str
    seconds: float
    machine: Machine
    versions: dict[str, str]
    rows: list[Outcome] = field(default_factory=list)
    format: int = FORMAT


def to_json(report: Report) -> bytes:
    """The report as JSON for people and programs."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def from_json(text: bytes) -> Report:
    """The report that `to_json` wrote.

    Raises:
        ValueError: it is no report, or one of another version.
    """
    report = msgspec.json.decode(text, type=Report)
    if report.format != FORMAT:
        raise ValueError(f"its format is {report.format}, not {FORMAT}")
    return report


def deviation(figures: Sequence[float]) -> float:
    """Median absolute deviation."""
    middle = statistics.median(figures)
    return statistics.median(abs(figure - middle) for figure in figures)


def series_of(contender: str, name: str, metric: Metric, rounds: Sequence[Samples]) -> Series:
    """What the rounds of a contender found for one metric."""
    medians = [statistics.median(samples[name]) for samples in rounds]
    everything = sorted(figure for samples in rounds for figure in samples[name])
    return Series(
        contender=contender,
        metric=name,
        unit=metric.unit,
        better=metric.better,
        rounds=medians,
        median=statistics.median(medians),
        mad=deviation(medians),
        # The nearest rank: a figure that was measured.
        p99=everything[-(-99 * len(everything) // 100) - 1],
        count=len(everything),
    )


def all_series(row: Row, found: dict[str, list[Samples]]) -> list[Series]:
    """Everything that was found, metric by metric."""
    return [
        series_of(contender, name, metric, found[contender])
        for name, metric in row.metrics.items()
        for contender in row.contenders
        if contender in found
    ]


def judge(goal: Goal, metric: Metric, series: Sequence[Series]) -> Verdict:
    """How far a goal was reached."""
    known = {each.contender: each for each in series if each.metric == goal.metric}
    ours = known.get(goal.of)
    others = [known[name] for name in goal.against if name in known]
    pick = max if metric.better == "high" else min
    best = pick(others, key=lambda each: each.median) if others else None
    figures: list[float] = []
    if ours is not None and (best is not None or goal.how == "within"):
        figures = _compared(goal, metric, ours, best)
    figure = statistics.median(figures) if figures else None
    return Verdict(
        metric=goal.metric,
        how=goal.how,
        of=goal.of,
        against=best.contender if best else " or ".join(goal.against[:2]),
        unit=metric.unit if goal.how in ("over", "within") else "x",
        tail=goal.tail,
        target=goal.target,
        stretch=goal.stretch,
        figure=figure,
        mad=deviation(figures) if figures else 0.0,
        target_met=_reached(goal, figure, goal.target),
        stretch_met=_reached(goal, figure, goal.stretch),
    )


def _compared(goal: Goal, metric: Metric, ours: Series, best: Series | None) -> list[float]:
    mine = [ours.p99] if goal.tail else ours.rounds
    if best is None:
        return mine
    theirs = [best.p99] if goal.tail else best.rounds
    pairs = list(zip(mine, theirs, strict=True))
    if goal.how == "over":
        return [a - b for a, b in pairs]
    if goal.how == "faster" and metric.better == "low":
        return [b / a for a, b in pairs]
    return [a / b for a, b in pairs]


def _reached(goal: Goal, figure: float | None, mark: float | None) -> bool | None:
    if figure is None or mark is None:
        return None
    return figure >= mark if goal.how == "faster" else figure <= mark
