"""Play random schedules against the supervision machine until a number of steps is reached.

    python tests/simulate/run.py --steps 1000000 --seed 1 --jobs 2

A failure prints the seed of its schedule, the events that led to it, and the command that repeats
it. Schedules are independent and numbered from ``--seed``; with several jobs each takes every n-th.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

# Appended, so that an installed procorch is the one under test, not the source beside the tests.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.simulate.world import World

SHOWN = 25
"""Events shown of a schedule that failed."""


class Share(NamedTuple):
    """What one job did: its counts, and the seed of the first schedule that failed."""

    schedules: int
    steps: int
    failed: int | None


def play(first: int, stride: int, steps: int, schedules: int | None) -> Share:
    """Play schedules ``first``, ``first + stride``, ... until ``steps`` are done or one fails."""
    played = done = 0
    while done < steps and (schedules is None or played < schedules):
        world = World(first + played * stride)
        played += 1
        try:
            world.play()
        except Exception:
            return Share(played, done + world.steps, world.seed)
        done += world.steps
    return Share(played, done, None)


def tell(seed: int) -> None:
    """Repeat a schedule that failed, and print how it came to that."""
    world = World(seed)
    try:
        world.play()
    except Exception:
        for now, event in world.told[-SHOWN:]:
            print(f"{now:10.2f}  {event}")
        traceback.print_exc(limit=-1, file=sys.stdout)
        print(f"\nseed {seed} failed after {world.steps} steps; repeat it with")
    else:
        print(f"\nseed {seed} failed before and does not now, which is a fault of the simulator:")
    print(f"    python tests/simulate/run.py --seed {seed} --schedules 1")


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 where every schedule passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("--steps", type=int, default=100_000, help="events to take, in all")
    parser.add_argument("--seed", type=int, default=None, help="of the first schedule")
    parser.add_argument("--schedules", type=int, default=None, help="schedules to play at most")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    given = parser.parse_args(arguments)
    seed = time.time_ns() % 10**9 if given.seed is None else given.seed
    jobs = 1 if given.schedules is not None else given.jobs
    began = time.monotonic()
    if jobs == 1:
        shares = [play(seed, 1, given.steps, given.schedules)]
    else:
        with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
            steps = -(-given.steps // jobs)
            futures = [pool.submit(play, seed + n, jobs, steps, None) for n in range(jobs)]
            shares = [future.result() for future in futures]
    took = time.monotonic() - began
    steps = sum(share.steps for share in shares)
    schedules = sum(share.schedules for share in shares)
    failed = [share.failed for share in shares if share.failed is not None]
    if failed:
        tell(failed[0])
    print(
        f"{schedules} schedules from seed {seed}, {steps} steps in {took:.1f} s "
        f"({steps / took:.0f} a second): {'FAILED' if failed else 'no rule broken'}"
    )
    return 1 if failed else 0


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """The defaults, and the text as it is."""


if __name__ == "__main__":
    sys.exit(main())
