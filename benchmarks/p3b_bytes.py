"""P3b: bytes there and back, as many as in the array of P3."""

from __future__ import annotations

import os

from benchmarks.p1_send_message import PIPE
from benchmarks.p3_arrays import contenders
from benchmarks.peers import EXECUTOR
from benchmarks.rows import Goal, Metric, Row, Scale


def _bytes(size: int) -> bytes:
    return os.urandom(size * 1_000_000)


ROW = Row(
    id="P3b",
    work="bytes of 100 MB there and back",
    amount="MB",
    metrics={"time": Metric("s")},
    contenders=contenders(_bytes, None),
    goals=(
        Goal("faster", (PIPE,), target=4.0, stretch=8.0),
        Goal("faster", (EXECUTOR,), target=3.0),
    ),
    full=Scale(rounds=11, amount=100),
    quick=Scale(rounds=3, amount=100),
    smoke=Scale(rounds=1, amount=1),
)
