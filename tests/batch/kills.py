"""A batch whose runner is killed by SIGKILL at random moments, and goes on each time.

``python -m tests.batch.kills run JOURNAL ITEMS`` is the runner; `trial` kills it and looks at what
is left. It is used by the tests in a small size and by ``tox -e soak-batch`` in full.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from procorch import run_batch
from procorch.batch.reader import Reader
from tests.batch import agents

TIMEOUT = "300ms"


@dataclass
class Report:
    """What a trial came to.

    Args:
        executions: how often a worker has begun an item.
        at_kill: finished items at each kill.
        wrong: what must not be.
    """

    items: int
    seconds: float = 0.0
    executions: int = 0
    at_kill: list[int] = field(default_factory=list)
    reasons: Counter[str | None] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def run(path: Path, items: int) -> None:
    """One runner; it says on standard output when it has begun to hand items out."""
    with run_batch(
        agents.hostile, range(items), out=path, workers=2, timeout=TIMEOUT, resume=True,
        skip_known=True, output="capture",
    ) as batch:  # fmt: skip
        for number, _ in enumerate(batch):
            if number == 0:
                print("running", flush=True)


def trial(directory: Path, items: int, kills: int, seed: int, longest: float) -> Report:
    """Kill runners after up to ``longest`` seconds of work, then let one finish."""
    chance, report = random.Random(seed), Report(items)
    path, executed = directory / "run.db", directory / "executed"
    before: dict[str, int] = {}
    began = time.monotonic()
    for session in range(1, kills + 2):
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.batch.kills", "run", path, str(items)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"EXECUTED": str(executed), "SESSION": str(session)},
        )
        assert process.stdout is not None
        process.stdout.readline()
        if session <= kills:
            time.sleep(chance.uniform(0.0, longest))  # the moment is what the trial is about
            process.kill()
        process.communicate()
        now = _outcomes(path)
        report.at_kill.append(len(now))
        for id, epoch in before.items():
            if now.get(id) != epoch:
                report.wrong.append(f"item {id} of session {epoch} has become {now.get(id)}")
        before = now
    report.seconds = time.monotonic() - began
    _check(report, path, executed, before)
    return report


def _outcomes(path: Path) -> dict[str, int]:
    """The items that are finished, each with the epoch of its runner."""
    with sqlite3.connect(path) as db:
        found = dict(db.execute("SELECT id, epoch FROM items"))
    db.close()
    return found


def _check(report: Report, path: Path, executed: Path, outcomes: dict[str, int]) -> None:
    if sorted(outcomes, key=int) != [str(number) for number in range(report.items)]:
        report.wrong.append(f"{len(outcomes)} of {report.items} items have an outcome")
    for line in executed.read_text().splitlines():
        session, _, id = line.partition(" ")
        report.executions += 1
        if int(session) > outcomes.get(id, 0):
            report.wrong.append(f"item {id} was run again in session {session}")
    with Reader(path) as journal:
        for row in journal.rows():
            report.reasons[row.reason] += 1
            if row.reason != agents.expected(int(row.id)):
                report.wrong.append(f"item {row.id} ended with {row.reason}")
            if row.ok and row.output != str(int(row.id) * 2):
                report.wrong.append(f"item {row.id} has the output {row.output!r}")


if __name__ == "__main__":
    run(Path(sys.argv[2]), int(sys.argv[3]))
