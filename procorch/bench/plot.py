"""A sweep as a picture: the time of the calls over the values of a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from procorch.bench.cases import NotMeasurable
from procorch.bench.measurement import Measurement

_INSTALL = "a plot needs matplotlib: pip install 'procorch[plots]'"
NO_SWEEP = "there is no sweep to draw: give a parameter values (-P n=10,100)"
Points = list[tuple[Any, float, float, float]]


def check(path: Path) -> None:
    """Refuse what could not be drawn, before anything is measured.

    Raises:
        NotMeasurable: matplotlib is missing, or does not know the kind of file.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as missing:
        raise NotMeasurable(f"{_INSTALL} ({missing})") from missing
    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.lstrip(".") not in known:
        raise NotMeasurable(f"{path}: a plot is one of {', '.join(sorted(known))}")


def series(measured: Sequence[Measurement]) -> tuple[str, dict[str, Points]]:
    """The parameter that has the most values, and the points of each line of the picture.

    A point is a value, the median of the time, and the times that half of the runs lie between.

    Raises:
        NotMeasurable: nothing was measured with a parameter.
    """
    values: dict[str, set[str]] = {}
    for one in measured:
        for name, value in _params(one).items():
            values.setdefault(name, set()).add(str(value))
    if not values:
        raise NotMeasurable(NO_SWEEP)
    axis = max(values, key=lambda name: len(values[name]))
    lines: dict[str, Points] = {}
    for one in measured:
        if one.runs and axis in _params(one):
            label = one.name.replace(f" {axis}={_params(one)[axis]}", "")
            wall = one.wall
            point = (_params(one)[axis], wall.median, wall.percentile(25), wall.percentile(75))
            lines.setdefault(label, []).append(point)
    return axis, lines


def draw(measured: Sequence[Measurement], path: Path) -> None:
    """Write the picture; its kind follows from the file's name.

    Raises:
        NotMeasurable: there is no sweep, or matplotlib is missing.
    """
    axis, lines = series(measured)
    check(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    xs = {x for points in lines.values() for x, *_ in points}
    numeric = all(isinstance(x, int | float) and x > 0 for x in xs)
    if numeric:
        axes.set_xscale("log")
        axes.set_xticks(sorted(xs), [f"{x:g}" for x in sorted(xs)])
        axes.xaxis.minorticks_off()
    for label, points in lines.items():
        found: list[Any] = sorted(points) if numeric else [(str(x), *times) for x, *times in points]
        places = [point[0] for point in found]
        axes.plot(places, [point[1] for point in found], marker="o", label=label)
        low, high = [point[2] for point in found], [point[3] for point in found]
        axes.fill_between(places, low, high, alpha=0.2)
    axes.set_yscale("log")
    axes.set_xlabel(axis)
    axes.set_ylabel("seconds of a run (median, quartiles)")
    axes.legend()
    figure.savefig(path)


def _params(measured: Measurement) -> dict[str, Any]:
    plan = measured.plan
    return {} if plan is None else dict(plan.params or {})
