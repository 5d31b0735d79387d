"""Where the time of a request goes: ``python -m benchmarks.where [one|many]``.

First without a profiler: the time of a request, and the processor time of every thread that has a
part in it. Then with `cProfile` on the caller, the monitor and the worker, function by function. A
profiler makes Python code look two to three times as slow as it is, and system calls not at all.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.work import TEXT, answer, answerer
from procorch import AgentOrchestrator, OrchestratedHandle
from procorch.messages import UserMessage

WARM_UP = 100
"""Requests before the first that counts."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("mode", type=click.Choice(["one", "many"]), default="one")
@click.option("--requests", type=click.IntRange(min=100), default=5_000, show_default=True)
@click.option("--top", type=click.IntRange(min=1), default=15, show_default=True,
              help="Functions shown of each thread.")  # fmt: skip
def main(mode: str, requests: int, top: int) -> None:
    """Profile requests of 1 KiB: one at a time as in P1, or many pipelined as in P2."""
    send = one if mode == "one" else many
    console = Console(highlight=False)
    console.print(f"{requests} requests, {mode} at a time", style="bold")
    for name, spent in processor_time(send, requests).items():
        console.print(f"{1e6 * spent:8.1f} µs  {name}")
    for name, stats in profiles(send, requests).items():
        console.print(table(name, stats, requests, top))


def one(handle: OrchestratedHandle, count: int) -> None:
    """Each waited for."""
    for _ in range(count):
        handle.send_message(TEXT)


def many(handle: OrchestratedHandle, count: int) -> None:
    """All submitted, then all results taken."""
    for future in [handle.submit(TEXT) for _ in range(count)]:
        future.result()


def processor_time(send: Callable[[OrchestratedHandle, int], None], count: int) -> dict[str, float]:
    """Seconds a request: as the clock has it, and of the processor for each thread."""
    with AgentOrchestrator(channel_buffer=count) as orchestrator:
        orchestrator.add_agent("answerer", answerer)
        handle = orchestrator.spawn("answerer")
        one(handle, WARM_UP)
        before, began = _of_threads(handle.pid), time.perf_counter()
        send(handle, count)
        elapsed, after = time.perf_counter() - began, _of_threads(handle.pid)
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        names[handle.pid] = "worker"
    spent = {
        f"processor, {names.get(number, number)}": (total - before.get(number, 0.0)) / count
        for number, total in after.items()
    }
    return {"by the clock": elapsed / count, **{k: v for k, v in spent.items() if v > 0}}


def _of_threads(worker: int | None) -> dict[int, float]:
    return {
        thread.id: thread.user_time + thread.system_time
        for process in (psutil.Process(), psutil.Process(worker))
        for thread in process.threads()
    }


def profiles(
    send: Callable[[OrchestratedHandle, int], None], count: int
) -> dict[str, pstats.Stats]:
    """Profiles of the caller, the monitor and the worker."""
    threads: dict[str, cProfile.Profile] = {}

    def begin(*event: Any) -> None:
        sys.setprofile(None)
        profile = threads[threading.current_thread().name] = cProfile.Profile()
        profile.enable()

    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/worker"
        threading.setprofile(begin)
        try:
            with AgentOrchestrator(channel_buffer=count) as orchestrator:
                orchestrator.add_agent("answerer", lambda: Profiled(path, count))
                handle = orchestrator.spawn("answerer")
                one(handle, WARM_UP)
                caller = cProfile.Profile()
                caller.enable()
                send(handle, count)
                caller.disable()
                handle.send_message(TEXT)  # the worker writes its profile down
        finally:
            threading.setprofile(None)
        return {
            "caller": pstats.Stats(caller),
            "monitor": pstats.Stats(threads["procorch-monitor"]),
            "worker": pstats.Stats(path),
        }


class Profiled:
    """An agent that profiles its worker for some requests after the first.

    Args:
        path: where the profile is written.
        count: of the requests.
    """

    def __init__(self, path: str, count: int) -> None:
        self._path = Path(path)
        self._left = WARM_UP + count
        self._count = count
        self._profile = cProfile.Profile()

    def handle(self, said: Sequence[UserMessage]) -> str:
        """Answer, as the others do."""
        self._left -= 1
        if self._left == self._count:
            self._profile.enable()
        elif self._left < 0:
            self._profile.disable()
            self._profile.dump_stats(self._path)
        return answer(said)


def table(name: str, stats: pstats.Stats, count: int, top: int) -> Table:
    """The functions of a thread that took most, in microseconds a request."""
    rows = sorted(stats.stats.items(), key=lambda row: -row[1][2])  # type: ignore[attr-defined]
    shown = Table(title=f"{name}, µs a request", title_justify="left", title_style="bold")
    for column in ("itself", "with callees", "calls"):
        shown.add_column(column, justify="right")
    shown.add_column("function", overflow="fold")
    for (file, line, function), (_, calls, itself, total, _) in rows[:top]:
        place = "" if file == "~" else f"{'/'.join(Path(file).parts[-2:])}:{line} "
        shown.add_row(
            f"{1e6 * itself / count:.2f}", f"{1e6 * total / count:.2f}", f"{calls / count:.2f}",
            f"{place}{function}",
        )  # fmt: skip
    return shown


if __name__ == "__main__":
    main()
