"""Two measurements side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from procorch.bench.measurement import Measurement
from procorch.bench.stats import Ratio, ratio


@dataclass(frozen=True)
class Comparison:
    """What ``b`` is in units of ``a``."""

    a: Measurement
    b: Measurement

    @cached_property
    def wall(self) -> Ratio:
        """Wall time: 0.5 is twice as fast."""
        return ratio(self.b.wall, self.a.wall)

    @cached_property
    def cpu(self) -> Ratio:
        """Processor time."""
        return ratio(self.b.cpu, self.a.cpu)

    @cached_property
    def peak_rss(self) -> Ratio:
        """Peak memory."""
        return ratio(self.b.peak_rss, self.a.peak_rss)

    @property
    def verdict(self) -> str:
        """ "faster", "slower", or "same" where the runs show no difference (95 %)."""
        if not self.wall.differs:
            return "same"
        return "faster" if self.wall.value < 1 else "slower"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of both, and what keeps them from being compared."""
        found = [f"{m.name}: {warning}" for m in (self.a, self.b) for warning in m.warnings]
        if self.a.fresh != self.b.fresh:
            found.append("one was measured in fresh processes, the other in a warm one")
        if self.a.requests != self.b.requests:
            found.append(
                f"a run of {self.a.name} has {self.a.requests} requests, one of {self.b.name} "
                f"{self.b.requests}"
            )
        if self.a.machine != self.b.machine:
            found.append("they were measured on different machines or Pythons")
        return tuple(found)

    def __str__(self) -> str:
        between = f"(95 %: {self.wall.low:.3f} to {self.wall.high:.3f})"
        if self.verdict == "same":
            return (
                f"{self.b.name} takes as long as {self.a.name}, as far as the runs show {between}"
            )
        return (
            f"{self.b.name} is {self.verdict} than {self.a.name}: it takes {self.wall.value:.3f} "
            f"times as long {between}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The ratios and both measurements as plain data."""
        return {
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "verdict": self.verdict,
            "warnings": list(self.warnings),
            **{name: getattr(self, name)._asdict() for name in ("wall", "cpu", "peak_rss")},
        }
