"""What a reload costs callers: a fixed load over three reloads with changed code.

    python -m benchmarks.reload [--runs 5] [--replace start_first]

Each run sends requests with a pause of some milliseconds between them, as long as three reloads
take, and as long again without one. It prints the errors, the releases that answered, the slowest
request, and the 99th percentile during the reloads beside the one without. The last line has the
medians of all runs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from procorch import AgentOrchestrator

CODE = """
import time

def agent():
    time.sleep({factory})
    return lambda _: {version}
"""
FACTORY = 0.5
"""Seconds that the factory of the agent takes."""
INTERVAL = 0.004
"""Seconds from an answer to the next request."""


class Load(NamedTuple):
    """What the callers saw: the latencies in seconds, the answers, and the errors."""

    took: list[float]
    answers: list[int]
    errors: list[BaseException]

    def p99(self) -> float:
        """The 99th percentile of the latencies."""
        return sorted(self.took)[int(len(self.took) * 0.99)]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="runs (default: 5)")
    parser.add_argument(
        "--replace", choices=("start_first", "stop_first"), default="start_first",
        help="how a process is replaced (default: start_first)",
    )  # fmt: skip
    given = parser.parse_args()
    ratios, slowest = [], []
    for number in range(given.runs):
        quiet, busy = one(number, given.replace)
        ratios.append(busy.p99() / quiet.p99())
        slowest.append(max(busy.took))
        print(
            f"run {number + 1}: {len(busy.took)} requests, {len(busy.errors)} errors, "
            f"releases {sorted(set(busy.answers))}, slowest {slowest[-1] * 1e3:.1f} ms, "
            f"p99 {busy.p99() * 1e3:.2f} ms, without a reload {quiet.p99() * 1e3:.2f} ms"
        )
    print(
        f"medians: p99 {statistics.median(ratios):.2f} times that without a reload, "
        f"slowest {statistics.median(slowest) * 1e3:.1f} ms"
    )


def one(number: int, replace: str) -> tuple[Load, Load]:
    """One run: the load without reloads, and during three of them."""
    name = f"reloaded_{number}"
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        module = Path(folder, f"{name}.py")
        deploy(module, 1)
        with AgentOrchestrator(start_method="zygote") as orch:
            orch.add_agent("a", importlib.import_module(name).agent)
            agent = orch.spawn("a")
            lasts = 0.0

            def reloads() -> None:
                nonlocal lasts
                began = time.perf_counter()
                for version in (2, 3, 4):
                    deploy(module, version)
                    orch.reload(replace=replace)  # type: ignore[arg-type]
                lasts = time.perf_counter() - began

            busy = under_load(agent, reloads)
            quiet = under_load(agent, lambda: time.sleep(lasts))
        sys.path.remove(folder)
    return quiet, busy


def deploy(module: Path, version: int) -> None:
    """Write a version; its time tells Python that the bytecode of the last one is old."""
    module.write_text(CODE.format(factory=FACTORY, version=version))
    os.utime(module, (version, version))


def under_load(agent, work) -> Load:  # type: ignore[no-untyped-def]
    """Send one request after the other, with a pause between them, while ``work`` runs."""
    load, over = Load([], [], []), threading.Event()

    def send() -> None:
        while not over.is_set():
            began = time.perf_counter()
            try:
                load.answers.append(agent.deliver(None).result().output)
            except Exception as error:
                load.errors.append(error)
            load.took.append(time.perf_counter() - began)
            time.sleep(INTERVAL)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        work()
    finally:
        over.set()
        sender.join()
    return load


if __name__ == "__main__":
    main()
