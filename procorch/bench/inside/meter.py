"""Processor time, memory and page faults of this process and of its children."""

from __future__ import annotations

import os
import resource

_SEEN = 1e-9


class Meter:
    """Measures from `begin` to `end`.

    The kernel's high-water mark of the memory is set back at the beginning, so the peak is that of
    the calls in between. Children that were waited for are in the kernel's account of children;
    those that still live are looked at in ``/proc``.

    Args:
        itself: the processor time of this process counts, too.
    """

    def __init__(self, *, itself: bool = True) -> None:
        self._itself = itself

    def begin(self) -> None:
        """Start measuring."""
        self._living = living = descendants()
        for pid in ("self", *living):
            _reset_peak(pid)
        self._busy = {pid: _processor_time(pid) for pid in living}
        self._children = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._self = resource.getrusage(resource.RUSAGE_SELF)

    def end(self) -> dict[str, float]:
        """The figures since `begin`, under the names of `procorch.bench.records.Run`."""
        own, before = resource.getrusage(resource.RUSAGE_SELF), self._self
        peak = _status("self", b"VmHWM:")
        waited = resource.getrusage(resource.RUSAGE_CHILDREN)
        user = waited.ru_utime - self._children.ru_utime
        system = waited.ru_stime - self._children.ru_stime
        ended = user + system > _SEEN or waited.ru_minflt > self._children.ru_minflt
        living = descendants()
        busy = sum(_processor_time(pid) - self._busy.get(pid, 0.0) for pid in living)
        # The mark of children that were waited for cannot be set back: it is of all there were.
        peaks = [waited.ru_maxrss * 1024 if ended else 0, *(_status(p, b"VmHWM:") for p in living)]
        return {
            "cpu_user": (own.ru_utime - before.ru_utime) * self._itself + user + busy,
            "cpu_system": (own.ru_stime - before.ru_stime) * self._itself + system,
            "peak_rss": max(peak, *peaks),
            "page_faults": own.ru_majflt + own.ru_minflt - before.ru_majflt - before.ru_minflt,
            "children": len(living) + ended,
            "children_cpu": user + system + busy,
            "children_peak_rss": max(peaks),
        }


def resident() -> int:
    """Bytes that this process holds now."""
    return _status("self", b"VmRSS:")


def descendants() -> list[str]:
    """The processes below this one that live, as ``/proc`` names them."""
    found: list[str] = []
    above = ["self"]
    while above:
        pid = above.pop()
        for thread in _list(f"/proc/{pid}/task"):
            listed = _read(f"/proc/{pid}/task/{thread}/children").decode().split()
            found += listed
            above += listed
    return found


def _processor_time(pid: str) -> float:
    """Seconds that the living threads of a process have run."""
    total = 0
    for thread in _list(f"/proc/{pid}/task"):
        text = _read(f"/proc/{pid}/task/{thread}/schedstat")
        total += int(text.split()[0]) if text else 0
    return total / 1e9


def _reset_peak(pid: str) -> None:
    try:
        fd = os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return  # It has ended, or /proc cannot be written: the peak is then that of all calls.
    try:
        os.write(fd, b"5")
    except OSError:
        pass
    finally:
        os.close(fd)


def _status(pid: str, name: bytes) -> int:
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""  # the process has ended


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
