"""Log files, at length: ``python tests/soak/logs.py``.

1,000,000 numbered lines of four agents over at least 50 rotations, with a follower, while workers
are killed now and then. Prints figures; exits with 1 if the files or the follower have lost a line,
or have one twice.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

# Appended, so that an installed procorch is the one under test, not the source beside the tests.
ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from procorch import AgentOrchestrator, Backoff, DefaultSupervisor  # noqa: E402
from procorch.daemon.logs import reader as log_reader  # noqa: E402
from procorch.daemon.logs.writer import LogWriter  # noqa: E402
from procorch.daemon.specs import LogSettings  # noqa: E402

AGENTS = 4
PART = 1000
"""Lines of one request."""
KILL = 37
"""One request in so many ends with the death of its worker."""
LINE = 130
"""Bytes of a line in a file, or somewhat more."""


def factory() -> Any:
    """An agent that prints numbered lines, in pieces that end anywhere."""
    import os
    import random

    def handle(request: tuple[int, int, bool]) -> int:
        first, count, dies = request
        data = b"".join(b"%d\n" % number for number in range(first, first + count))
        while data:
            size = random.randint(1, 20_000)
            data = data[os.write(1, data[:size]) :]
        if dies:
            os.kill(os.getpid(), 9)
        return count

    return handle


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--rotations", type=int, default=50, help="at least so many")
    options = parser.parse_args()
    each = options.lines // AGENTS // PART * PART
    size = options.lines * LINE // (options.rotations * 3 // 2)
    names = [f"agent-{number}" for number in range(AGENTS)]
    followed: dict[str, list[int]] = {name: [] for name in names}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        settings = LogSettings(max_size=size, total=1 << 40)
        logs = LogWriter(Path(directory) / "logs", settings, str)
        stream = log_reader.read(logs, names, follow=True)

        def follow() -> None:
            for line in stream:
                followed[line["agent"]].append(int(line["text"]))

        follower = threading.Thread(target=follow)
        follower.start()
        write(logs, names, each)
        took = time.monotonic() - began
        kept: dict[str, list[int]] = {name: [] for name in names}
        for line in log_reader.read(logs, names):
            kept[line["agent"]].append(int(line["text"]))
        rotations = sum(len(logs.rotated(name)) for name in names)
        logs.close()
        follower.join()
    print(
        f"{each * AGENTS} lines in {took:.0f} s ({each * AGENTS / took:.0f}/s), "
        f"{rotations} rotations, {os.cpu_count()} processors"
    )
    wrong = rotations < options.rotations
    for who, found in (("files", kept), ("follower", followed)):
        lost, twice, order = faults(found, each)
        print(f"{who}: {lost} lines lost, {twice} twice, {order} out of order")
        wrong = wrong or bool(lost or twice or order)
    return int(wrong)


def write(logs: LogWriter, names: list[str], each: int) -> None:
    """Have each agent print its lines."""
    with AgentOrchestrator(supervisor=DefaultSupervisor(), output_sink=logs) as orch:
        for name in names:
            orch.add_agent(name, factory, max_restarts=10**6, backoff=Backoff(initial=0, cap=0))
        handles = [orch.spawn(name) for name in names]
        replies = collections.deque(
            handle.deliver((first, PART, first // PART % KILL == KILL - 1))
            for first in range(0, each, PART)
            for handle in handles
        )
        for reply in replies:
            reply.exception(300)


def faults(found: dict[str, list[int]], each: int) -> tuple[int, int, int]:
    """How many lines are missing, are there more than once, and follow a later one."""
    lost = twice = order = 0
    for numbers in found.values():
        lost += each - len(set(numbers))
        twice += len(numbers) - len(set(numbers))
        order += sum(one > other for one, other in itertools.pairwise(numbers))
    return lost, twice, order


if __name__ == "__main__":
    sys.exit(main())
