"""Measurements as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from procorch.bench import units
from procorch.bench.measurement import Measurement
from procorch.bench.stats import Statistics

HEADERS = ("agent", "runs", "wall", "+-", "cold", "min", "max", "cpu", "memory", "start")


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


def lines(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """The lines of a table in Markdown; all columns but the first are aligned to the right."""
    found = [headers, ("---", *["---:"] * (len(headers) - 1)), *cells]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in found)
