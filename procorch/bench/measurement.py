"""What was measured: figures of every run, and what they say about themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Self

from procorch.bench.stats import Statistics

FORMAT = 1
"""Of the JSON; another one is refused."""
_FEW = 5
_UNSTEADY = 0.05
_SHORT = 50e-6
_DRIFT = 3.0


@dataclass(frozen=True, slots=True)
class Run:
    """All requests once, in one process.

    Args:
        wall: seconds in the worker, summed over the requests; the way there and back is not in it.
        cpu_user, cpu_system: seconds of the worker's process.
        peak_rss: bytes resident at most during a request.
        page_faults: of the worker's process.
        start: seconds from the wish for the process until the agent was ready; 0.0 where the
            process had been there before.
    """

    wall: float
    cpu_user: float
    cpu_system: float
    peak_rss: int
    page_faults: int
    start: float = 0.0


@dataclass(frozen=True)
class Measurement:
    """Several runs of one agent.

    Args:
        name: what was measured.
        runs: each of them, warm-up left out.
        requests: how many requests make a run.
        fresh: each run had a process of its own.
        machine: what it was measured on.
        notes: what happened around it that one should know.
    """

    name: str
    runs: tuple[Run, ...]
    requests: int
    fresh: bool
    machine: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def wall(self) -> Statistics:
        """Seconds of a run."""
        return self._of("wall")

    @cached_property
    def cpu(self) -> Statistics:
        """Seconds of processor time of a run, user and system."""
        return Statistics(tuple(run.cpu_user + run.cpu_system for run in self.runs))

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
        return Statistics(tuple(getattr(run, name) for run in self.runs))

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Why the figures should not be relied on; empty where nothing speaks against them."""
        wall = self.wall
        found = list(self.notes)
        if wall.count < _FEW:
            found.append(f"only {wall.count} runs: too few to see how much they differ")
        if wall.spread > _UNSTEADY:
            found.append(
                f"unsteady: the runs differ by {wall.spread:.0%} of their median; is the machine "
                "busy with something else?"
            )
        if len(wall.outliers) > wall.count / 10:
            found.append(f"{len(wall.outliers)} of {wall.count} runs are outliers")
        if wall.median < _SHORT:
            found.append(
                f"a run takes {wall.median * 1e6:.1f} us: too short for its clock; give it more "
                "requests"
            )
        half = wall.count // 2
        if half >= _FEW:
            early, late = Statistics(wall.values[:half]), Statistics(wall.values[-half:])
            noise = max(early.mad, late.mad, wall.median * 0.01)
            if abs(late.median - early.median) > _DRIFT * noise:
                change = late.median / early.median - 1
                found.append(f"drifting: the second half of the runs took {change:+.0%}; warm up?")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, the statistics included."""
        figures = {}
        for name in ("wall", "cpu", "peak_rss", "page_faults", "start"):
            of: Statistics = getattr(self, name)
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
            "runs": [asdict(run) for run in self.runs],
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
        if not isinstance(plain, Mapping) or plain.get("format") != FORMAT:
            raise ValueError(f"no measurement of procorch (format {FORMAT})")
        names = {each.name for each in fields(Run)}
        try:
            runs = tuple(Run(**{name: run[name] for name in names}) for run in plain["runs"])
            return cls(
                name=plain["name"], runs=runs, requests=plain["requests"], fresh=plain["fresh"],
                machine=plain["machine"], notes=tuple(plain["notes"]),
            )  # fmt: skip
        except (KeyError, TypeError) as error:
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
        from procorch.bench.markdown import table

        return table([self])
