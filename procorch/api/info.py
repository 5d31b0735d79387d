"""The state of one running agent at one moment."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from procorch.memory import peak_rss


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """The state of one instance at one moment.

    Args:
        name: the name of the agent.
        instance: the number of this instance.
        pid: process id; None: it has no process.
        generation: number of its process, from 1; 0: none was started yet.
        state: STARTING, READY, BUSY, PAUSED (idle, because a throttled service asked for a pause),
            BACKOFF, DRAINING, HUNG, STOPPING, or its final status.
        queue: how many requests wait.
        restarts: counted restarts since it was spawned.
        last_exit: how the previous process ended, as text; None before the first end.
        request: number of the request that its process runs (`ReplyFuture.request`); None: it is
            idle, or the process has ended.
        cpu: user and system time of the current process, in seconds.
        rss: resident memory of the process now, in bytes.
        peak_rss: the most resident memory it has had, in bytes.
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
    """An `AgentInfo` with the figures of the process ``pid``; None: the figures are zero."""
    import psutil  # slow to import, and only needed here

    cpu, rss, peak = 0.0, 0, 0
    if pid is not None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
            cpu, rss, peak = times.user + times.system, memory.rss, memory.rss
        peak = peak_rss(pid) or peak
    return AgentInfo(pid=pid, cpu=cpu, rss=rss, peak_rss=peak, **known)
