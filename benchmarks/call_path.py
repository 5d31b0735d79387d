"""How long the way of a request is: ``python -m benchmarks.call_path``.

For one warm ``send_message`` of 1 KiB with default settings: the Python functions that are called
in the caller's thread, how often the module changes on the way, the processor time of the parent
and of the worker, and the system calls of both where ``strace`` is installed. Counts do not depend
on how busy the machine is; times do.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click
import msgspec

from benchmarks.work import TEXT, answer
from procorch import AgentOrchestrator, OrchestratedHandle
from procorch.messages import UserMessage

WARM_UP = 200
"""Requests before the first that counts."""
COUNTED = 20
"""Requests whose calls are counted; the median is shown."""

_CPU = "processor time, please"
_BEGIN, _END = "/procorch-call-path-begin", "/procorch-call-path-end"
_LINE = re.compile(r"(\d+)\s+(\w+)\(")
"""A line of strace with the start of a system call: thread, name."""


@dataclasses.dataclass(frozen=True)
class CallPath:
    """What one request takes.

    Args:
        calls: Python functions called in the caller's thread; ``own_calls``: those of procorch.
        changes: how often a call of a function of procorch is in another module than the last one.
        parent_cpu: seconds of processor time of this process when the caller waits for each answer;
            ``worker_cpu``: of the worker.
        pipelined_parent_cpu, pipelined_worker_cpu: the same when all are sent before the first
            answer is read.
        parent_system_calls, worker_system_calls: by name; None without strace.
    """

    calls: float
    own_calls: float
    changes: float
    parent_cpu: float
    worker_cpu: float
    pipelined_parent_cpu: float
    pipelined_worker_cpu: float
    parent_system_calls: dict[str, float] | None
    worker_system_calls: dict[str, float] | None


class Answerer:
    """Answers like `work.answer`, and tells the processor time of its process."""

    def handle(self, said: Sequence[UserMessage]) -> str:
        """Answer."""
        text = said[0].text
        if text == _CPU:
            return repr(time.process_time())
        return answer(said)


@contextmanager
def warm_agent(**settings: Any) -> Iterator[OrchestratedHandle]:
    """An agent that has answered before."""
    with AgentOrchestrator(**settings) as orchestrator:
        orchestrator.add_agent("answerer", Answerer)
        handle = orchestrator.spawn("answerer")
        one_by_one(handle, WARM_UP)
        yield handle


def one_by_one(handle: OrchestratedHandle, count: int) -> None:
    """Each request is waited for."""
    for _ in range(count):
        handle.send_message(TEXT)


def pipelined(handle: OrchestratedHandle, count: int) -> None:
    """All are sent, then all answers are read."""
    for future in [handle.submit(TEXT) for _ in range(count)]:
        future.result()


def python_calls(handle: OrchestratedHandle) -> tuple[int, int, int]:
    """Calls of one request in this thread: all, those of procorch, and changes of module."""
    modules: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            modules.append(str(frame.f_globals.get("__name__")))

    sys.setprofile(note)
    try:
        handle.send_message(TEXT)
    finally:
        sys.setprofile(None)
    own = [module for module in modules if module.partition(".")[0] == "procorch"]
    return len(modules), len(own), sum(a != b for a, b in itertools.pairwise(own))


def processor_time(
    send: Callable[[OrchestratedHandle, int], None], handle: OrchestratedHandle, count: int
) -> tuple[float, float]:
    """Seconds a request, of this process and of the worker."""

    def worker() -> float:
        return float(handle.send_message(_CPU).text)

    before, began = worker(), time.process_time()
    send(handle, count)
    return (time.process_time() - began) / count, (worker() - before) / count


def system_calls(count: int) -> tuple[dict[str, float], dict[str, float]] | None:
    """System calls a request, of the parent and of the worker, by name; None without strace."""
    if shutil.which("strace") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace")
        traced = [sys.executable, "-m", "benchmarks.call_path", "--traced", str(count)]
        done = subprocess.run(
            ["strace", "-f", "-qq", "-o", str(trace), *traced],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:  # a container may forbid it
            return None
        worker, *others = done.stdout.split()
        lines = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    begin = next(at for at, line in enumerate(lines) if _BEGIN in line)
    end = next(at for at, line in enumerate(lines) if _END in line)
    found: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for line in lines[begin + 1 : end]:
        match = _LINE.match(line)
        if match and match[1] in (worker, *others):
            found[match[1] == worker][match[2]] += 1
    return _a_request(found[False], count), _a_request(found[True], count)


def _a_request(counted: Counter[str], count: int) -> dict[str, float]:
    # What happens less than once in fifty requests is no part of the way.
    return {name: times / count for name, times in counted.most_common() if times * 50 > count}


def be_traced(count: int) -> None:
    """What strace looks at: requests between two marks; the threads are told to whoever asked."""
    with warm_agent() as handle:
        threads = os.listdir("/proc/self/task")
        print(handle.pid, *threads, flush=True)
        os.access(_BEGIN, os.F_OK)
        one_by_one(handle, count)
        os.access(_END, os.F_OK)


def measure(requests: int) -> CallPath:
    """All of it.

    Args:
        requests: for the times; a tenth of them for the system calls.
    """
    with warm_agent(channel_buffer=requests) as handle:
        counts = [python_calls(handle) for _ in range(COUNTED)]
        sync = processor_time(one_by_one, handle, requests)
        ahead = processor_time(pipelined, handle, requests)
    traced = system_calls(max(1, requests // 10))
    calls, own, changes = (statistics.median(each) for each in zip(*counts, strict=True))
    return CallPath(
        calls, own, changes, *sync, *ahead,
        parent_system_calls=None if traced is None else traced[0],
        worker_system_calls=None if traced is None else traced[1],
    )  # fmt: skip


def lines(found: CallPath) -> Iterator[str]:
    """For people."""
    yield (
        f"{found.own_calls:g} calls of procorch's functions in the caller's thread "
        f"({found.calls:g} with the standard library's), {found.changes:g} changes of module"
    )
    for name, parent, worker in (
        ("one at a time", found.parent_cpu, found.worker_cpu),
        ("pipelined", found.pipelined_parent_cpu, found.pipelined_worker_cpu),
    ):
        yield f"processor, {name}: parent {1e6 * parent:.1f} µs, worker {1e6 * worker:.1f} µs"
    for name, calls in (
        ("parent", found.parent_system_calls),
        ("worker", found.worker_system_calls),
    ):
        if calls is None:
            yield f"system calls, {name}: unknown (strace cannot be used here)"
        else:
            each = ", ".join(f"{call} {times:.1f}" for call, times in calls.items())
            yield f"system calls, {name}: {sum(calls.values()):.1f} ({each})"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--requests", type=click.IntRange(min=100), default=5_000, show_default=True)
@click.option(
    "--json", "as_json", is_flag=True, help="Write the figures as JSON; times in seconds."
)
@click.option("--traced", type=click.IntRange(min=1), hidden=True)
def main(requests: int, as_json: bool, traced: int | None) -> None:
    """Say how long the way of a request is."""
    if traced is not None:
        be_traced(traced)
        return
    found = measure(requests)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    for line in lines(found):
        click.echo(line)


if __name__ == "__main__":
    main()
