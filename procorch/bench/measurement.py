"""What was measured: figures of every run, and what they say about themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from procorch.bench import units
from procorch.bench.checks import doubts
from procorch.bench.markdown import lines
from procorch.bench.records import (
    FORMAT,
    Failure,
    Plan,
    Run,
    count_kinds,
    failure_from,
    plan_from,
    run_from,
    to_plain,
)
from procorch.bench.stats import Statistics

HEADERS = ("agent", "runs", "wall", "+-", "cold", "min", "max", "cpu", "memory", "start")
"""Of a table with one row a measurement."""


@dataclass(frozen=True)
class Measurement:
    """Several runs of one agent.

    Args:
        name: what was measured.
        runs: each that succeeded, warm-up left out.
        requests: how many requests make a run.
        fresh: its processes were made for it; False: one warm process served all runs.
        machine: what it was measured on.
        notes: what happened around it that one should know.
        failures: the runs that failed.
        plan: how it was measured; None in files of version 0.1.
        complete: all runs that were asked for were made; False after Ctrl-C or a kill.

    Example:
        >>> measurement = measure(lambda: sorted, requests=[[3, 1, 2]], runs=20)
        >>> measurement.wall.median, measurement.wall.mad
    """

    name: str
    runs: tuple[Run, ...]
    requests: int
    fresh: bool
    machine: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    plan: Plan | None = None
    complete: bool = True

    @property
    def tried(self) -> int:
        """How many runs there were, failed ones included."""
        return len(self.runs) + len(self.failures)

    @property
    def success(self) -> str:
        """``"ok 20/20"``, or ``"ok 18/20, 2 SIGABRT"``."""
        failed = count_kinds(self.failures)
        return f"ok {len(self.runs)}/{self.tried}{', ' + failed if failed else ''}"

    @cached_property
    def wall(self) -> Statistics:
        """Seconds of the calls alone, warm; like each figure, ValueError without a good run."""
        return self._of("wall")

    @cached_property
    def each(self) -> tuple[Statistics, ...]:
        """Seconds of each request, in their order; empty in files of version 0.1."""
        columns = zip(*(run.each for run in self.runs), strict=True)
        return tuple(Statistics(tuple(column)) for column in columns)

    @cached_property
    def cold(self) -> Statistics:
        """Seconds of the first calls of each process; ValueError where none was observed."""
        return self._of("cold")

    @cached_property
    def way(self) -> Statistics:
        """Seconds to serialise, send and load requests and answers; ValueError where unknown."""
        return self._of("way")

    @cached_property
    def cpu(self) -> Statistics:
        """Seconds of processor time of a run, user and system."""
        return self._statistics([run.cpu_user + run.cpu_system for run in self.runs], "cpu")

    @cached_property
    def cpu_user(self) -> Statistics:
        """Seconds in user mode."""
        return self._of("cpu_user")

    @cached_property
    def cpu_system(self) -> Statistics:
        """Seconds in the kernel."""
        return self._of("cpu_system")

    @cached_property
    def peak_rss(self) -> Statistics:
        """Bytes resident at most."""
        return self._of("peak_rss")

    @cached_property
    def page_faults(self) -> Statistics:
        """Page faults."""
        return self._of("page_faults")

    @cached_property
    def start(self) -> Statistics:
        """Seconds until the agent was ready."""
        return self._of("start")

    def _of(self, name: str) -> Statistics:
        found = [getattr(run, name) for run in self.runs]
        return self._statistics([value for value in found if value is not None], name)

    def _statistics(self, values: Sequence[float], name: str) -> Statistics:
        if not self.runs:
            raise ValueError(f"no run of {self.name} has figures: {self.success}")
        if not values:
            raise ValueError(f"no run of {self.name} tells {name!r}")
        return Statistics(tuple(values))

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Why the figures should not be relied on; empty where nothing speaks against them."""
        warmed = self.plan is not None and self.plan.warmup_calls > 0
        return tuple(doubts(self.runs, self.notes, complete=self.complete, warmed=warmed))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, the statistics included."""
        figures = {}
        for name in ("wall", "cold", "way", "cpu", "peak_rss", "page_faults", "start"):
            try:
                of: Statistics = getattr(self, name)
            except ValueError:
                continue  # no run tells it
            figures[name] = {
                "median": of.median, "mad": of.mad, "mean": of.mean, "sd": of.sd, "min": of.min,
                "max": of.max, "p5": of.percentile(5), "p95": of.percentile(95),
                "outliers": list(of.outliers),
            }  # fmt: skip
        return {
            "format": FORMAT,
            "name": self.name,
            "requests": self.requests,
            "fresh": self.fresh,
            "machine": dict(self.machine),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "statistics": figures,
            "runs": [to_plain(run) for run in self.runs],
            "failures": [to_plain(failure) for failure in self.failures],
            "success": self.success,
            "plan": None if self.plan is None else to_plain(self.plan),
            "complete": self.complete,
        }

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """What `to_dict` made plain; statistics are made anew.

        Raises:
            ValueError: it is no measurement, with what is wrong.
        """
        format = plain.get("format") if isinstance(plain, Mapping) else None
        if not isinstance(format, int) or not 1 <= format <= FORMAT:
            raise ValueError(f"no measurement of procorch (format 1 to {FORMAT})")
        try:
            fresh, plan = plain["fresh"], plain.get("plan")
            runs = [
                run_from(run, number, fresh=fresh, format=format)
                for number, run in enumerate(plain["runs"])
            ]
            return cls(
                name=plain["name"], runs=tuple(runs), requests=plain["requests"], fresh=fresh,
                machine=plain["machine"], notes=tuple(plain["notes"]),
                failures=tuple(map(failure_from, plain.get("failures", ()))),
                plan=None if plan is None else plan_from(plan),
                complete=plain.get("complete", True),
            )  # fmt: skip
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"a damaged measurement: {error!r}") from error

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote; raises like `from_dict`."""
        try:
            return cls.from_dict(json.loads(text))
        except json.JSONDecodeError as error:
            raise ValueError(f"no JSON: {error}") from error

    def to_markdown(self) -> str:
        """A table of its figures."""
        return table([self])


def rows(measurements: Sequence[Measurement], *, each: bool = False) -> list[tuple[str, ...]]:
    """The cells of a table, one row a measurement: medians, and the spread of the wall time.

    Args:
        each: below it one row for each request, where there are several.
    """
    found = []
    for m in measurements:
        found.append(_row(m))
        if each and len(m.each) > 1:
            found += [_row_of_request(number, of) for number, of in enumerate(m.each, 1)]
    return found


def _row(m: Measurement) -> tuple[str, ...]:
    runs = m.success if m.failures else str(len(m.runs))
    if not m.runs:
        return (m.name, runs, *[""] * (len(HEADERS) - 2))
    return (
        m.name, runs, *_times(m.wall), _median(m, "cold"), units.duration(m.wall.min),
        units.duration(m.wall.max), units.duration(m.cpu.median), units.size(m.peak_rss.median),
        _median(m, "start"),
    )  # fmt: skip


def _row_of_request(number: int, of: Statistics) -> tuple[str, ...]:
    ends = (units.duration(of.min), units.duration(of.max))
    return (f"  request {number}", "", *_times(of), "", *ends, "", "", "")


def _times(of: Statistics) -> tuple[str, str]:
    return units.duration(of.median), units.duration(of.mad)


def _median(m: Measurement, figure: str) -> str:
    try:
        of: Statistics = getattr(m, figure)
    except ValueError:
        return ""  # no run tells it
    return units.duration(of.median)


def table(measurements: Sequence[Measurement], *, each: bool = False) -> str:
    """A table, and the warnings below it; ``each``: as for `rows`."""
    text = lines(HEADERS, rows(measurements, each=each))
    warned = [f"- {m.name}: {warning}\n" for m in measurements for warning in m.warnings]
    return text + ("\n" + "".join(warned) if warned else "")
