"""P13: one request at a time to an agent of a daemon, through its socket.

The reference is the same agent in the same program: P1 in the run of this row.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import procorch
from benchmarks.p1_send_message import WARM_UP, timed
from benchmarks.p1_send_message import procorch as in_the_program
from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Scale
from benchmarks.work import TEXT
from procorch import DaemonClient

MODULE = "from benchmarks.work import answerer\n"
"""The agents of a daemon."""
PROGRAM = "same program"

_ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def daemon(folder: Path, toml: str) -> Iterator[DaemonClient]:
    """A daemon in a folder, whose agents are ready; it is stopped in order afterwards.

    Args:
        toml: its configuration.
    """
    (folder / "procorch.toml").write_text(toml, encoding="utf-8")
    (folder / "agents.py").write_text(f"import sys\nsys.path.append({str(_ROOT)!r})\n{MODULE}")
    command = [sys.executable, "-m", "procorch"]
    subprocess.run([*command, "up", "-d"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    try:
        yield procorch.connect(folder)
    finally:
        subprocess.run([*command, "down"], cwd=folder, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def through_the_socket(amount: int) -> Iterator[Round]:
    """`procorch.connect`, and its handle."""
    toml = '[agents.answerer]\nfactory = "agents:answerer"\n'
    with tempfile.TemporaryDirectory() as folder, daemon(Path(folder), toml) as client:
        handle = client.handle("answerer")
        for _ in range(WARM_UP):
            assert handle.send_message(TEXT).text == TEXT
        yield lambda: timed(lambda: handle.send_message(TEXT), amount)


ROW = Row(
    id="P13",
    work="send_message of 1 KiB through a daemon's socket",
    amount="requests",
    metrics={"time": Metric("s")},
    contenders={OURS: Contender(through_the_socket), PROGRAM: Contender(in_the_program)},
    goals=(
        Goal("within", target=0.005, stretch=0.002),
        Goal("within", target=0.02, tail=True),
        Goal("over", (PROGRAM,), stretch=0.001),
    ),
    full=Scale(rounds=15, amount=200),
    quick=Scale(rounds=5, amount=100),
    smoke=Scale(rounds=1, amount=3),
    notes=(
        "Each request has a connection of its own: the client is any program of the user, and the "
        "daemon checks who it is.",
    ),
)
