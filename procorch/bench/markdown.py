"""Measurements as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from procorch.bench import units
from procorch.bench.measurement import Measurement

HEADERS = ("agent", "runs", "wall", "+-", "min", "max", "cpu", "memory", "start")


def rows(measurements: Sequence[Measurement]) -> list[tuple[str, ...]]:
    """The cells of a table, one row a measurement: medians, and the spread of the wall time."""
    return [
        (
            m.name,
            str(m.wall.count),
            units.duration(m.wall.median),
            units.duration(m.wall.mad),
            units.duration(m.wall.min),
            units.duration(m.wall.max),
            units.duration(m.cpu.median),
            units.size(m.peak_rss.median),
            units.duration(m.start.median) if m.fresh else "",
        )
        for m in measurements
    ]


def table(measurements: Sequence[Measurement]) -> str:
    """A table, and the warnings below it."""
    lines = [HEADERS, ("---", *["---:"] * (len(HEADERS) - 1)), *rows(measurements)]
    text = "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)
    warned = [f"- {m.name}: {warning}\n" for m in measurements for warning in m.warnings]
    return text + ("\n" + "".join(warned) if warned else "")
