"""Processor time of a request, beside another version: ``python -m benchmarks.beside PYTHON``.

PYTHON is an interpreter in whose environment the other version is installed. Both do the same work
in turns (A B A B), each time in a fresh interpreter, with default settings:

    python3 -m venv /tmp/before && /tmp/before/bin/pip install 'git+REPOSITORY@04b78da'
    python -m benchmarks.beside /tmp/before/bin/python

Processor time is what `getrusage` says, so that a busy machine disturbs it less than a clock.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TEXT = ("The quick brown fox jumps over the lazy dog. " * 23)[:1024]
WARM_UP = 200
_QUESTION = "processor time, please"
_MODES = {"one": "one at a time", "many": "pipelined"}

Figures = dict[str, list[float]]


class Answerer:
    """Says what it is told; the processor time of its process when it is asked for that."""

    def handle(self, said: Any) -> str:
        """Answer."""
        text: str = said[0].text
        return repr(_spent()) if text == _QUESTION else text


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def one(handle: Any, count: int) -> None:
    """Each request is waited for."""
    for _ in range(count):
        handle.send_message(TEXT)


def many(handle: Any, count: int) -> None:
    """All are sent, then all answers are read."""
    for future in [handle.submit(TEXT) for _ in range(count)]:
        future.result()


def processor_time(requests: int) -> Figures:
    """Seconds a request of the parent and of the worker, by mode; of the installed version."""
    from procorch import AgentOrchestrator

    found: Figures = {}
    with AgentOrchestrator() as orchestrator:
        orchestrator.add_agent("answerer", Answerer)
        handle = orchestrator.spawn("answerer")
        one(handle, WARM_UP)
        works: dict[str, Callable[[Any, int], None]] = {"one": one, "many": many}
        for mode, work in works.items():
            worker = float(handle.send_message(_QUESTION).text)
            parent = _spent()
            work(handle, requests)
            parent = _spent() - parent
            worker = float(handle.send_message(_QUESTION).text) - worker
            found[mode] = [parent / requests, worker / requests]
    return found


def compare(other: str, requests: int, rounds: int) -> list[tuple[Figures, Figures]]:
    """Figures of the other version and of this one, round by round."""

    def ran(python: str) -> Figures:
        command = [python, str(Path(__file__).resolve()), str(requests)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{python} failed:\n{done.stderr}")
        found: Figures = json.loads(done.stdout)
        return found

    return [(ran(other), ran(sys.executable)) for _ in range(rounds)]


def lines(found: list[tuple[Figures, Figures]]) -> Iterator[str]:
    """Medians of the rounds; the ratio is the median of those within a round."""
    for mode, title in _MODES.items():
        for index, process in enumerate(("parent", "worker")):
            before = [theirs[mode][index] for theirs, _ in found]
            now = [ours[mode][index] for _, ours in found]
            ratio = statistics.median(b / a for a, b in zip(before, now, strict=True))
            yield (
                f"{title}, {process}: {1e6 * statistics.median(before):.1f} µs before, "
                f"{1e6 * statistics.median(now):.1f} µs now, {ratio:.2f} x"
            )


def main() -> None:
    """Compare with the interpreter that the command line names; measure for a number."""
    import argparse

    if len(sys.argv) == 2 and sys.argv[1].isdigit():
        print(json.dumps(processor_time(int(sys.argv[1]))))
        return
    parser = argparse.ArgumentParser(description="Processor time of a request beside PYTHON's.")
    parser.add_argument("python", metavar="PYTHON", help="interpreter with the other version")
    parser.add_argument("--requests", type=int, default=20_000, help="in each mode and round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    began = time.monotonic()
    for line in lines(compare(given.python, given.requests, given.rounds)):
        print(line)
    print(f"{given.rounds} rounds of {given.requests} requests, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
