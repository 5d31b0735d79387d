"""Several measurements compared with several others, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from procorch.bench import units
from procorch.bench.comparison import MIN_EFFECT, Comparison
from procorch.bench.measurement import Measurement
from procorch.bench.ratios import geometric_mean

HEADERS = ("benchmark", "before", "after", "ratio", "95 %", "memory", "verdict")


@dataclass(frozen=True)
class SuiteComparison:
    """What the measurements ``after`` are in units of those of the same name ``before``.

    Args:
        min_effect: see `Comparison`.

    Raises:
        ValueError: a name is there twice on one side, or no name is on both.
    """

    before: tuple[Measurement, ...]
    after: tuple[Measurement, ...]
    min_effect: float = MIN_EFFECT

    def __post_init__(self) -> None:
        for side in (self.before, self.after):
            names = [each.name for each in side]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"there is more than one measurement called {twice[0]!r}")
        if not self.comparisons:
            raise ValueError(
                f"no measurement of {_names(self.after)} has a counterpart of the same name in "
                f"{_names(self.before)}"
            )

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """One of each name that is on both sides, in the order of ``after``."""
        before = {each.name: each for each in self.before}
        return tuple(
            Comparison(before[each.name], each, min_effect=self.min_effect)
            for each in self.after
            if each.name in before
        )

    @property
    def gone(self) -> tuple[str, ...]:
        """Names that only ``before`` has."""
        return _only(self.before, self.after)

    @property
    def new(self) -> tuple[str, ...]:
        """Names that only ``after`` has."""
        return _only(self.after, self.before)

    @cached_property
    def mean(self) -> float | None:
        """The geometric mean of the ratios of time; None where no pair has figures."""
        ratios = [each.decisive.value for each in self.comparisons if each.a.runs and each.b.runs]
        return geometric_mean(ratios) if ratios else None

    def rows(self) -> list[tuple[str, ...]]:
        """The cells under `HEADERS`, one row a name and one for the mean of several."""
        rows = [_row(each) for each in self.comparisons]
        if self.mean is not None and len(self.comparisons) > 1:
            rows.append(("geometric mean", "", "", f"{self.mean:.3f}", "", "", ""))
        return rows

    def remarks(self) -> list[str]:
        """What the rows do not say: names on one side only, and the warnings."""
        found = [f"{name}: only before" for name in self.gone]
        found += [f"{name}: only after" for name in self.new]
        found += [f"{each.b.name}: {text}" for each in self.comparisons for text in each.warnings]
        return found

    def to_dict(self) -> dict[str, Any]:
        """The verdicts and ratios as plain data, without the measurements."""
        return {
            "comparisons": [
                {"a": each.a.name, "b": each.b.name, **each.summary()} for each in self.comparisons
            ],
            "geometric_mean": self.mean,
            "gone": list(self.gone),
            "new": list(self.new),
        }


def _row(comparison: Comparison) -> tuple[str, ...]:
    a, b = comparison.a, comparison.b
    verdict = comparison.verdict
    if comparison.success != "same":
        verdict += f"; {comparison.success} ({b.success})"
    if not a.runs or not b.runs:
        return (b.name, _wall(a), _wall(b), "", "", "", verdict)
    ratio = comparison.decisive
    return (
        b.name, _wall(a), _wall(b), f"{ratio.value:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}",
        f"{comparison.peak_rss.value:.3f}" if comparison.memory != "same" else "same", verdict,
    )  # fmt: skip


def _wall(measured: Measurement) -> str:
    return units.duration(measured.wall.median) if measured.runs else measured.success


def _only(these: Sequence[Measurement], others: Sequence[Measurement]) -> tuple[str, ...]:
    known = {each.name for each in others}
    return tuple(each.name for each in these if each.name not in known)


def _names(measured: Sequence[Measurement]) -> str:
    return ", ".join(each.name for each in measured) or "nothing"
