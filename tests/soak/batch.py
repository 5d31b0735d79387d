"""The batch, at length: ``tox -e soak-batch``, or ``python tests/soak/batch.py``.

A batch of 20,000 hostile items whose runner is killed twenty times, then 1,000 journals whose
writer is killed. Prints figures; exits with 1 if anything that must hold does not.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

# Appended, so that an installed procorch is the one under test, not the source beside the tests.
ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from tests.batch import kills  # noqa: E402
from tests.batch.journal_kills import acknowledged_and_kept  # noqa: E402


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20, help="runners to be killed")
    parser.add_argument("--journals", type=int, default=1000, help="writers to be killed")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    options = parser.parse_args()
    os.chdir(ROOT)
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        report = kills.trial(
            Path(directory), options.items, options.kills, options.seed, longest=5.0
        )
    print(
        f"{report.items} items in {report.seconds:.0f} s, {options.kills} runners killed at "
        f"{report.at_kill[:-1]} finished items: {report.at_kill[-1]} outcomes "
        f"{dict(report.reasons)}, {report.executions} executions",
        flush=True,
    )
    for line in report.wrong[:20]:
        print(line)
    lost, told, began, chance = 0, 0, time.monotonic(), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as directory:
        for trial in range(options.journals):
            path = Path(directory) / f"{trial}.db"
            acknowledged, kept = acknowledged_and_kept(path, chance.uniform(0.0, 0.03))
            told += acknowledged
            lost += max(0, acknowledged - kept)
            path.unlink()
    print(
        f"{options.journals} writers killed in {time.monotonic() - began:.0f} s: "
        f"{told} results acknowledged, {lost} lost"
    )
    return 1 if report.wrong or lost else 0


if __name__ == "__main__":
    sys.exit(main())
