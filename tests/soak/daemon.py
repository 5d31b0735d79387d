"""Hard use of a daemon: kills at random moments, many agents, hours of load.

``tox -e soak-daemon`` does all of it. One by one:

    python tests/soak/daemon.py kills --count 200     # kill -9 of the daemon under load
    python tests/soak/daemon.py many --agents 300     # status, start, and idle processor time
    python tests/soak/daemon.py hours --minutes 60    # memory, descriptors and threads stay flat

Prints figures, and ends with 1 if something does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

# Appended, so that an installed procorch is the one under test, not the source beside the tests.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from procorch import DaemonClient
from procorch.errors import AgentError
from tests.daemon.killing import TOML, kill_often
from tests.daemon.running import RunningDaemon, running


def kills(folder: Path, count: int, seed: int) -> list[str]:
    """Kill a daemon at random moments; the next one must work at once.

    Args:
        count: kills, most of them under load.
        seed: of the moments.

    Returns:
        What does not hold.
    """
    report = kill_often(folder, count, seed, at_work=0.7)
    slowest, usual = max(report.starts), statistics.median(report.starts)
    print(
        f"{count} kills (seed {seed}); all agents were ready after {usual:.2f} s (median), "
        f"{slowest:.2f} s (slowest)"
    )
    return report.wrong


def many(folder: Path, agents: int, seconds: float) -> list[str]:
    """Start many agents; measure `status`, and the processor time of an idle daemon."""
    toml = "".join(f'[agents.a{number}]\nfactory = "agents:echo"\n' for number in range(agents))
    begun = time.monotonic()
    with running(folder, toml) as daemon:
        client = daemon.connect()
        print(f"{agents} agents were ready after {time.monotonic() - begun:.1f} s")
        client.status()
        begun = time.monotonic()
        client.status()
        status = time.monotonic() - begun
        process = psutil.Process(daemon.process.pid)
        before = sum(process.cpu_times()[:2])
        threading.Event().wait(seconds)
        idle = (sum(process.cpu_times()[:2]) - before) / seconds
        print(f"status {status:.3f} s, idle {idle:.3%} of a core over {seconds:.0f} s")
    wrong = []
    if status > 0.3:
        wrong.append(f"status took {status:.3f} s")
    if idle > 0.01:
        wrong.append(f"the idle daemon used {idle:.2%} of a core")
    return wrong


def hours(folder: Path, minutes: float) -> list[str]:
    """Requests, crashes and reloads for a long time: nothing grows."""
    with running(folder, TOML) as daemon:
        client = daemon.connect()
        _work(client, 60)
        before = _size(daemon)
        requests = _work(client, minutes * 60)
        after = _size(daemon)
    print(f"{requests} requests in {minutes:g} minutes, with crashes and reloads")
    print(f"before {before}, after {after}")
    wrong = []
    if after["rss"] > before["rss"] * 1.1 + (4 << 20):
        wrong.append("memory has grown")
    if after["descriptors"] > before["descriptors"] + 2:
        wrong.append("descriptors have grown")
    if after["threads"] > before["threads"] + 2:
        wrong.append("threads have grown")
    return wrong


def _work(client: DaemonClient, seconds: float) -> int:
    """Returns the number of requests; one in 50 kills its worker, one in 500 is a reload, too."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        with contextlib.suppress(AgentError):
            client.handle("echo").send_message("die" if number % 50 == 0 else "hello")
        if number % 500 == 0:
            client.reload("echo")
            client.status()
    return number


def _size(daemon: RunningDaemon) -> dict[str, int]:
    process = psutil.Process(daemon.process.pid)
    return {
        "rss": process.memory_info().rss,
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
    }


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=["kills", "many", "hours"])
    parser.add_argument("--count", type=int, default=200, help="kills")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--agents", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=60, help="idle time that is measured")
    parser.add_argument("--minutes", type=float, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.what == "kills":
            wrong = kills(folder, given.count, given.seed)
        elif given.what == "many":
            wrong = many(folder, given.agents, given.seconds)
        else:
            wrong = hours(folder, given.minutes)
    for each in wrong:
        print(f"wrong: {each}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
