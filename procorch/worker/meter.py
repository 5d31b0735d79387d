"""Measures the resources of each request: time, processor, memory, page faults.

The kernel keeps the highest resident size of a process. Resetting that mark takes three system
calls, more than everything else here together. So the meter resets it only

* after a request that has raised the mark, so that its memory does not count for other requests;
* after `EVERY` seconds, so that memory which was freed in between does not count;
* for each request if a limit depends on the figure.

So the peak of a request is never too low. It is too high by at most the memory that the process has
freed within the last `EVERY` seconds before it, or by less than `BLUR`.

The mark is read from ``ru_maxrss``, which comes with the processor time. It is at least the peak of
the process that called exec, because Linux keeps that (413 MiB for ``/bin/true`` started by a large
parent). A peak below that value is read from ``/proc/self/status`` (15 us).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from resource import RUSAGE_SELF, getrusage, struct_rusage

from procorch import memory
from procorch.wire.headers import ResourceUse

EVERY = 0.1
"""Seconds after which the mark is reset in any case, when the next request begins."""

BLUR = 1 << 20
"""Bytes by which two figures of the kernel for the same value may differ."""


class Meter:
    """Measures one request after the other.

    Args:
        weigh: measure the memory that limits count, exactly if it is above this many bytes; None:
            do not measure it.
        clock: monotonic seconds.
    """

    def __init__(self, weigh: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._weigh = weigh
        self._clock = clock
        _reset_mark()
        self._before = getrusage(RUSAGE_SELF)
        shown = self._before.ru_maxrss * 1024
        self._inherited = shown if shown > memory.peak_rss(os.getpid()) + BLUR else 0
        self._due = self._began = 0.0
        self._mark = self._seen = 0
        self._child: tuple[float, float, int] | None = None

    def begin(self, *, at_once: bool) -> float:
        """A request begins now.

        Args:
            at_once: the worker did not wait since the last `resources`, so its figures are still
                true.

        Returns:
            The time.
        """
        self._began = now = self._clock()
        if now >= self._due or self._seen > self._mark or self._weigh is not None:
            _reset_mark()
            self._before = getrusage(RUSAGE_SELF)
            self._due = now + EVERY
            self._mark = self._peak(self._before) + BLUR
        elif not at_once:
            self._before = getrusage(RUSAGE_SELF)
        return now

    def count_child(self, cpu_user: float, cpu_system: float, peak_rss: int) -> None:
        """Add what a child has used, whose end the agent has waited for, to the next figures."""
        before = self._child or (0.0, 0.0, 0)
        self._child = (before[0] + cpu_user, before[1] + cpu_system, max(before[2], peak_rss))

    def resources(self) -> ResourceUse:
        """The resources used since `begin`."""
        before, self._before = self._before, getrusage(RUSAGE_SELF)
        after, limit = self._before, self._weigh
        self._seen = peak = self._peak(after)
        found = ResourceUse(
            self._clock() - self._began,
            after.ru_utime - before.ru_utime,
            after.ru_stime - before.ru_stime,
            peak,
            after.ru_majflt + after.ru_minflt - before.ru_majflt - before.ru_minflt,
            0 if limit is None else memory.used(peak, limit),
        )
        return found if self._child is None else self._with_child(found)

    def of_one(self, wall: float, cpu: float) -> ResourceUse:
        """The resources of one of several requests that run at once: the memory is that of all.

        Args:
            wall: its seconds.
            cpu: seconds of processor time of its own code.
        """
        peak, limit = self._peak(getrusage(RUSAGE_SELF)), self._weigh
        self._seen = peak
        used = 0 if limit is None else memory.used(peak, limit)
        found = ResourceUse(wall, cpu, 0.0, peak, 0, used)
        return found if self._child is None else self._with_child(found)

    def _with_child(self, own: ResourceUse) -> ResourceUse:
        user, system, peak = self._child or (0.0, 0.0, 0)
        self._child = None
        return ResourceUse(
            own.wall, own.cpu_user + user, own.cpu_system + system, max(own.peak_rss, peak),
            own.page_faults, own.used,
        )  # fmt: skip

    def _peak(self, usage: struct_rusage) -> int:
        shown = usage.ru_maxrss * 1024
        return shown if shown > self._inherited else memory.peak_rss(os.getpid())


def _reset_mark() -> None:
    # Opened each time: an agent may close descriptors that it does not know.
    with contextlib.suppress(OSError):  # /proc is read-only: the peak is then that of all requests
        fd = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"5")
        finally:
            os.close(fd)
