"""Two measurements side by side."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from procorch.bench.measurement import Measurement
from procorch.bench.ratios import LEAST, Ratio, fisher_p, ratio_of, ratio_of_pairs
from procorch.bench.records import Run

MIN_EFFECT = 0.01
_STARVED = 1.1
"""A run waited, for the processor or by itself, where its wall time is so many times its processor
time."""
_LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """What ``b`` is in units of ``a``.

    Args:
        min_effect: a difference in time or memory that is smaller is not called one: 0.01 is one
            percent.
        in_turn: they were measured side by side, so that runs of the same turn form pairs; None:
            look at when their runs began.

    Example:
        >>> comparison = compare(lambda: sorted, lambda: list, requests=[[3, 1, 2]])
        >>> print(comparison)
    """

    a: Measurement
    b: Measurement
    min_effect: float = MIN_EFFECT
    in_turn: bool | None = None

    @cached_property
    def paired(self) -> bool:
        """Whether the runs of a turn form pairs: what disturbs one disturbs the other."""
        if self.in_turn is not None:
            return self.in_turn
        ours, theirs = _when(self.b), _when(self.a)
        if ours is None or theirs is None or _place(self.a) != _place(self.b):
            return False
        return max(ours[0], theirs[0]) < min(ours[1], theirs[1])

    @cached_property
    def wall(self) -> Ratio:
        """Wall time of the calls: 0.5 is twice as fast. ValueError where either has no good run."""
        return self._ratio("wall")

    @cached_property
    def cpu(self) -> Ratio:
        """Processor time."""
        return self._ratio("cpu")

    @cached_property
    def peak_rss(self) -> Ratio:
        """Peak memory."""
        return self._ratio("peak_rss")

    @cached_property
    def cold(self) -> Ratio:
        """Time of the first calls; ValueError where either has none."""
        return self._ratio("cold")

    @cached_property
    def start(self) -> Ratio:
        """Time until the agent is ready; ValueError where either has none."""
        return self._ratio("start")

    @property
    def success_p(self) -> float:
        """Probability of rates of success this different by luck (Fisher's exact test)."""
        return fisher_p(
            len(self.a.runs), len(self.a.failures), len(self.b.runs), len(self.b.failures)
        )

    @property
    def success(self) -> str:
        """``b`` "fails more", "fails less", or "same" where the runs show no difference (95 %)."""
        if self.success_p >= _LEVEL:
            return "same"
        ours, theirs = (len(m.runs) / m.tried for m in (self.b, self.a))
        return "fails less" if ours > theirs else "fails more"

    @cached_property
    def starved(self) -> bool:
        """Whether runs waited for a processor, so that processor time decides.

        Code that waits by itself, for a disk or a sleep, does so in all its runs. Code that
        computes has runs whose wall time is their processor time, unless others took the processor.
        """
        return any(_is_starved(measured) for measured in (self.a, self.b))

    @property
    def decisive(self) -> Ratio:
        """The ratio that the verdict is about: of wall time, or of processor time if starved."""
        return self.cpu if self.starved else self.wall

    @property
    def verdict(self) -> str:
        """``b`` is "faster" or "slower", "same" where the runs show no difference (95 %), or
        "undecided": fewer than six independent runs of either that succeeded."""
        if not self.a.runs or not self.b.runs:
            return "undecided"
        return _word(self.decisive, "faster", "slower")

    @property
    def memory(self) -> str:
        """``b`` takes "less" or "more" memory, "same", or "undecided"."""
        if not self.a.runs or not self.b.runs:
            return "undecided"
        return _word(self.peak_rss, "less", "more")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the two can hardly be compared."""
        found = []
        if self.a.fresh != self.b.fresh:
            found.append("one was measured in fresh processes, the other in a warm one")
        if self.a.requests != self.b.requests:
            found.append(
                f"a run of {self.a.name} has {self.a.requests} requests, one of {self.b.name} "
                f"{self.b.requests}"
            )
        if self.a.machine != self.b.machine:
            found.append("they were measured on different machines or Pythons")
        if not self.paired:
            found.append(
                "they were not measured in turn: the interval allows for a difference between "
                "two days; measure both in one command to see smaller ones"
            )
        if self.starved:
            found.append("runs waited for a processor: the verdict is about processor time")
        one_process = [m.name for m in (self.a, self.b) if _processes(m) < LEAST and m.runs]
        if one_process:
            found.append(
                f"{' and '.join(one_process)}: fewer than {LEAST} processes; a difference may be "
                "one between processes (hash seed, memory layout) and not one of the code"
            )
        return tuple(found)

    def __str__(self) -> str:
        """The verdicts as sentences, one after the other."""
        return "; ".join([self._time(), *self._more()])

    def _time(self) -> str:
        names = f"{self.b.name} and {self.a.name}"
        if self.verdict == "undecided":
            runs = f"{len(self.b.runs)} and {len(self.a.runs)} good runs"
            return f"{names} cannot be compared: {runs}, and {LEAST} of each are needed"
        found = self.decisive
        by = " of processor time" if self.starved else ""
        between = f"(95 %: {found.low:.3f} to {found.high:.3f})"
        if self.verdict == "same":
            takes = f"takes as long as {self.a.name}"
            return f"{self.b.name} {takes}{by}, as far as the runs show {between}"
        return (
            f"{self.b.name} is {self.verdict} than {self.a.name}: it takes {found.value:.3f} "
            f"times as long{by} {between}"
        )

    def _more(self) -> list[str]:
        found = []
        if self.success != "same":
            found.append(f"it {self.success} often: {self.b.success} against {self.a.success}")
        if self.memory in ("less", "more"):
            found.append(f"it takes {self.peak_rss.value:.3f} times the memory")
        return found

    def to_dict(self) -> dict[str, Any]:
        """The verdicts, the ratios and both measurements as plain data."""
        return {"a": self.a.to_dict(), "b": self.b.to_dict(), **self.summary()}

    def summary(self) -> dict[str, Any]:
        """The verdicts and the ratios as plain data; a ratio is None where one has no figure."""
        ratios = {}
        for name in ("wall", "cpu", "peak_rss", "cold", "start"):
            try:
                ratios[name] = getattr(self, name)._asdict()
            except ValueError:
                ratios[name] = None
        return {
            "verdict": self.verdict,
            "memory": self.memory,
            "success": self.success,
            "success_p": self.success_p,
            "paired": self.paired,
            "starved": self.starved,
            "warnings": list(self.warnings),
            **ratios,
        }

    def _ratio(self, figure: str) -> Ratio:
        if self.paired:
            pairs = self._pairs(figure)
            if pairs:
                return ratio_of_pairs(pairs, min_effect=self.min_effect)
        return ratio_of(
            by_process(self.b, figure),
            by_process(self.a, figure),
            min_effect=self.min_effect,
            other_session=not self.paired,
        )

    def _pairs(self, figure: str) -> list[tuple[float, float]]:
        """Values of ``a`` and ``b`` from the same turns, one pair of two processes each.

        Runs of one process share its layout and its hash seed. Taken one by one, they claim a
        difference between equal code in 23 of 100 cases (docs/decisions/033).
        """
        theirs = {run.turn: run for run in self.a.runs}
        groups: dict[tuple[int, int], list[tuple[float, float]]] = {}
        for run in self.b.runs:
            partner = theirs.get(run.turn)
            if partner is None:
                continue
            pair = _figure(partner, figure), _figure(run, figure)
            if pair[0] is not None and pair[1] is not None:
                groups.setdefault((partner.process, run.process), []).append((pair[0], pair[1]))
        if len(groups) < LEAST:
            return [pair for group in groups.values() for pair in group]
        return [
            (statistics.median(a for a, _ in group), statistics.median(b for _, b in group))
            for group in groups.values()
        ]


def _figure(run: Run, name: str) -> float | None:
    if name == "cpu":
        return run.cpu_user + run.cpu_system
    value: float | None = getattr(run, name)
    return value


def by_process(measured: Measurement, figure: str) -> list[float]:
    """One value a process of a figure of `Run`, or one a run where there are few processes.

    Raises:
        ValueError: no run has that figure.
    """
    groups: dict[int, list[float]] = {}
    for run in measured.runs:
        value = _figure(run, figure)
        if value is not None:
            groups.setdefault(run.process, []).append(value)
    if not groups:
        raise ValueError(f"no run of {measured.name} tells {figure!r}")
    if len(groups) < LEAST:
        return [value for values in groups.values() for value in values]
    return [statistics.median(values) for values in groups.values()]


def _place(measured: Measurement) -> dict[str, Any]:
    """The machine, whichever interpreter was measured on it."""
    return {name: fact for name, fact in measured.machine.items() if name != "python"}


def _processes(measured: Measurement) -> int:
    return len({run.process for run in measured.runs})


def _when(measured: Measurement) -> tuple[float, float] | None:
    began = [run.began for run in measured.runs] + [lost.began for lost in measured.failures]
    began = [when for when in began if when]
    return (min(began), max(began)) if len(began) > 1 else None


def _is_starved(measured: Measurement) -> bool:
    waits = [run.wall / cpu for run in measured.runs if (cpu := run.cpu_user + run.cpu_system) > 0]
    if not waits or min(waits) > _STARVED:
        return False
    return sum(wait > _STARVED for wait in waits) > len(waits) / 4


def _word(ratio: Ratio, below: str, above: str) -> str:
    if ratio.n < LEAST:
        return "undecided"
    if not ratio.differs:
        return "same"
    return below if ratio.value < 1 else above
