"""What takes minutes: ``tox -e soak``, or ``python tests/soak/run.py``.

10,000 random kills under load, then 500 hosts killed. Prints figures; exits with 1 if anything that
must hold does not.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import tempfile
from pathlib import Path

# Appended, so that an installed procorch is the one under test, not the source beside the tests.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.faults import trials
from tests.soak import kills

MiB = 1 << 20
_PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10_000, help="random kills under load")
    parser.add_argument("--hosts", type=int, default=500, help="hosts to be killed")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        report = kills.run(
            options.kills,
            Path(directory) / "executed",
            seed=options.seed,
            warm=min(1000, options.kills // 2),
        )
    print(
        f"{report.kills} kills in {report.seconds:.0f} s ({report.kills / report.seconds:.0f}/s), "
        f"{report.requests} requests ({report.requests / report.seconds:.0f}/s): "
        f"{report.answered} answered, {report.crashed} crashed, {report.lost} lost, "
        f"{report.duplicated} duplicated, {report.hung} hung\n"
        f"left: {report.left}; resident memory {report.rss_growth / MiB:+.2f} MiB",
        flush=True,
    )
    for line in report.wrong[:20]:
        print(line)
    if not report.clean or any(report.left.values()) or report.rss_growth > MiB:
        return 1
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    trials.main(options.hosts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
