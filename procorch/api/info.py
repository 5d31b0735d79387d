"""One running agent at one moment."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from procorch.memory import peak_rss


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """One instance at one moment.

    Args:
        state: STARTING, READY, BUSY, PAUSED (idle, because a throttled service wants to be left
            alone), BACKOFF, DRAINING, HUNG, STOPPING, or its final status.
        queue: requests that wait.
        restarts: counted restarts since it was spawned.
        last_exit: how the previous process ended, in words; None before the first end.
        request: number of the request that its process has (`ReplyFuture.request`); None: it is
            idle, or the process has ended.
        cpu: user and system seconds of the present process.
        rss: its resident bytes now, ``peak_rss`` at most so far.
    """

    name: str
    instance: int
    pid: int | None
    generation: int
    state: str
    queue: int
    restarts: int
    last_exit: str | None
    request: int | None
    cpu: float
    rss: int
    peak_rss: int


def inspect(pid: int | None, **known: Any) -> AgentInfo:
    """An `AgentInfo` with the figures of the process ``pid``, zeros where there is none."""
    import psutil  # heavy, and only needed here

    cpu, rss, peak = 0.0, 0, 0
    if pid is not None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
            cpu, rss, peak = times.user + times.system, memory.rss, memory.rss
        peak = peak_rss(pid) or peak
    return AgentInfo(pid=pid, cpu=cpu, rss=rss, peak_rss=peak, **known)
