"""A run as a picture: every contender of every metric, the better above the worse."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from benchmarks import wording
from benchmarks.figures import Report, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS, _THEIRS = "#c0392b", "#7f8c8d"
_WIDE = 20.0
"""The largest figure over the smallest, from which on the scale is logarithmic."""


FORMATS = (".svg", ".png", ".pdf")


def check(path: str) -> None:
    """See, before anything is measured, that `draw` will be able to.

    Raises:
        ValueError: the name ends in no format that is known, or matplotlib is not installed.
    """
    if not path.endswith(FORMATS):
        raise ValueError(f"--plot {path}: its name must end in {', '.join(FORMATS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("--plot needs matplotlib: pip install 'procorch[plots]'")


def draw(report: Report, path: str) -> None:
    """Write the picture, in the format that the file's name ends in."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [
        (f"{outcome.id}: {outcome.work}", list(series))
        for outcome in report.rows
        for _, series in groupby(outcome.series, key=lambda each: each.metric)
    ]
    heights = [1.0 + len(series) for _, series in panels]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(9, 0.32 * sum(heights) + 0.5), squeeze=False,
        gridspec_kw={"height_ratios": heights}, layout="constrained",
    )  # fmt: skip
    for (title, series), axis in zip(panels, axes[:, 0], strict=True):
        _panel(axis, title, series)
    figure.savefig(path)
    pyplot.close(figure)


def _panel(axis: Axes, title: str, series: Sequence[Series]) -> None:
    # matplotlib draws from the bottom up: the best is to be at the top.
    ranked = sorted(series, key=lambda each: each.median, reverse=series[0].better == "low")
    medians = [each.median for each in ranked]
    colours = [_OURS if each.contender.startswith("procorch") else _THEIRS for each in ranked]
    bars = axis.barh(
        [each.contender for each in ranked], medians, xerr=[each.mad for each in ranked],
        color=colours, height=0.7, ecolor="black",
    )  # fmt: skip
    axis.bar_label(bars, [wording.figure(each.median, each.unit) for each in ranked], padding=4)
    named = ranked[0].metric not in ("time", "rate")
    if named:
        title = f"{title}, {ranked[0].metric}"
    if min(medians) > 0 and max(medians) / min(medians) > _WIDE:
        axis.set_xscale("log")
        title = f"{title} (logarithmic)"
    axis.set_title(title, loc="left", fontsize=10)
    axis.margins(x=0.15)
    axis.tick_params(labelsize=8)
    axis.set_xticks([])
    axis.set_xticks([], minor=True)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
