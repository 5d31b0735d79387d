"""How precisely the runs so far tell a time, for measuring until that is enough."""

from __future__ import annotations

import math
from collections.abc import Sequence

from procorch.bench.comparison import Comparison, by_process
from procorch.bench.measurement import Measurement
from procorch.bench.ranks import signed_rank
from procorch.bench.ratios import LEAST


def half_width(measured: Sequence[Measurement]) -> float:
    """Half the width of the widest 95 % interval: 0.02 is give or take two percent.

    Args:
        measured: of several, measured in turn, the ratio of each to the first is what counts; of
            one its own time.

    Returns:
        Infinity with too few processes to tell.
    """
    if any(not each.runs for each in measured):
        return math.inf
    if len(measured) == 1:
        logs = [math.log(value) for value in by_process(measured[0], "wall") if value > 0]
        if len(logs) < LEAST:
            return math.inf
        shift = signed_rank(logs)
        return math.expm1((shift.high - shift.low) / 2)
    widths = []
    for other in measured[1:]:
        ratio = Comparison(measured[0], other, in_turn=True).decisive
        if ratio.n < LEAST:
            return math.inf
        widths.append(math.sqrt(ratio.high / ratio.low) - 1)
    return max(widths)


def floor(a: Measurement, b: Measurement) -> float:
    """The difference that this machine cannot tell, from equal code measured in turn.

    Returns:
        The end of the 95 % interval of their ratio that is farther from 1: 0.03 is three percent.

    Raises:
        ValueError: there are too few runs that succeeded to tell.
    """
    ratio = Comparison(a, b, in_turn=True).wall
    if ratio.n < LEAST:
        raise ValueError(f"{LEAST} runs that succeed are needed to tell what the machine can tell")
    return max(ratio.high, 1 / ratio.low) - 1
