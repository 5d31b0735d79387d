"""The language in which a row of the suite is described.

A row is one kind of work, done by several *contenders*. A contender is opened once and then asked
for rounds, in turn with the others (A B A B), so that whatever the machine does meanwhile happens
to all of them. No figure means anything alone: a *goal* compares procorch's with a reference of the
same run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, TypeAlias

OURS = "procorch"
"""The contender that goals are about, unless they say otherwise."""

Samples: TypeAlias = dict[str, list[float]]
"""What one round found: for each metric the single measurements."""

Round: TypeAlias = Callable[[], Samples]


@dataclass(frozen=True)
class Contender:
    """One way to do the work of a row.

    Args:
        open: called with the amount of work of a round; the context gives the round. What is to
            be warm is warm when it is entered.
        needs: package without which it is left out; None: it is always there.
    """

    open: Callable[[int], AbstractContextManager[Round]]
    needs: str | None = None


@dataclass(frozen=True)
class Metric:
    """What is measured.

    Args:
        unit: "s", "1/s", "B", "%" (of a core) or "" (a number).
        better: which end of the scale is.
    """

    unit: str = "s"
    better: Literal["low", "high"] = "low"


@dataclass(frozen=True)
class Goal:
    """A figure that procorch is to reach.

    Args:
        how: "times" divides ours by the reference, "faster" says how often ours is the faster,
            "over" subtracts the reference, "within" is ours alone.
        against: names of the reference; of several the best, one that is not there is none.
        target: the figure to reach ("faster": at least, else at most); None: only a stretch.
        stretch: the figure to be proud of.
        tail: compare the 99th percentile of all measurements in place of the median.
        metric: of the row's metrics.
        of: the contender it is about.
    """

    how: Literal["times", "faster", "over", "within"]
    against: tuple[str, ...] = ()
    target: float | None = None
    stretch: float | None = None
    tail: bool = False
    metric: str = "time"
    of: str = OURS


@dataclass(frozen=True)
class Scale:
    """How much is done: rounds of every contender, and the amount of work in each."""

    rounds: int
    amount: int


@dataclass(frozen=True)
class Row:
    """One line of the table of targets.

    Args:
        work: what is done, in a few words.
        amount: what the amount of a `Scale` counts.
        contenders: by name, in the order in which they are shown.
        full: the scale at which the targets are meant; ``quick`` takes seconds, ``smoke`` only
            shows that the code runs.
        notes: what a reader must know to judge the figures.
    """

    id: str
    work: str
    amount: str
    metrics: dict[str, Metric]
    contenders: dict[str, Contender]
    goals: tuple[Goal, ...]
    full: Scale
    quick: Scale
    smoke: Scale
    notes: tuple[str, ...] = ()
