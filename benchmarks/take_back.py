"""How long requests wait behind a slow one while another replica is idle.

    python -m benchmarks.take_back [ROUNDS]

Each round sends one slow request and some quick ones to two replicas whose requests were quick so
far. Some of the quick ones were sent ahead to the replica with the slow one. The figure is the time
from the begin of the slow request until the last of the quick ones has begun.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import quantiles

from procorch import AgentPool

SLOW = 0.02
QUICK = 12
WARM_UP = 40
ROUNDS = 400


def timed() -> Callable[[float], tuple[float, int]]:
    """An agent that sleeps as long as it is told, and answers when it began, and where."""
    import os
    import time

    def handle(seconds: float) -> tuple[float, int]:
        began = time.monotonic()
        if seconds:
            time.sleep(seconds)
        return began, os.getpid()

    return handle


def waits(rounds: int) -> list[float]:
    """Seconds of each round in which some waited for more than 1 ms."""
    found = []
    with AgentPool(timed, 2) as pool:
        for _ in range(rounds):
            for _ in range(WARM_UP):  # idle replicas first, so each gets one of two
                for future in [pool.submit(0.0), pool.submit(0.0)]:
                    future.result()
            futures = [pool.submit(seconds) for seconds in (SLOW, *[0.0] * QUICK)]
            slow, *others = (future.result().output for future in futures)
            last = max(began for began, _ in others)
            if last - slow[0] > 0.001:
                found.append(last - slow[0])
    return found


def main() -> None:
    """Print the quantiles."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    found = waits(rounds)
    cuts = quantiles(found, n=100)
    print(f"{rounds} rounds, {len(found)} in which some waited for more than 1 ms")
    p50, p99, most = (1e3 * seconds for seconds in (cuts[49], cuts[98], max(found)))
    print(f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {most:.2f} ms")


if __name__ == "__main__":
    main()
