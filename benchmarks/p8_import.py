"""P8: what ``import procorch`` and ``procorch --help`` add to the start of an interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Scale

_NOTHING = "python -c pass"
_HELP = "procorch --help"


def _command() -> list[str]:
    script = os.path.join(sysconfig.get_path("scripts"), "procorch")
    return [script] if os.path.exists(script) else [sys.executable, "-m", "procorch.cli.main"]


def program(arguments: Sequence[str]) -> Contender:
    """A program, run to its end."""

    @contextmanager
    def opened(amount: int) -> Iterator[Round]:
        def once() -> float:
            began = time.perf_counter()
            subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - began

        once()
        yield lambda: {"time": [once() for _ in range(amount)]}

    return Contender(opened)


ROW = Row(
    id="P8",
    work="import procorch; procorch --help",
    amount="runs",
    metrics={"time": Metric("s")},
    contenders={
        OURS: program([sys.executable, "-c", "import procorch"]),
        _HELP: program([*_command(), "--help"]),
        _NOTHING: program([sys.executable, "-c", "pass"]),
    },
    goals=(
        Goal("over", (_NOTHING,), target=0.020, stretch=0.010),
        Goal("over", (_NOTHING,), target=0.080, of=_HELP),
    ),
    full=Scale(rounds=15, amount=10),
    quick=Scale(rounds=5, amount=5),
    smoke=Scale(rounds=1, amount=1),
)
