"""Where a run took place: the machine, and the versions of everything measured."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

import psutil

from benchmarks.figures import Machine

_PACKAGES = (
    "procorch",
    "multiprocess",
    "pebble",
    "loky",
    "mpire",
    "billiard",
    "ray",
    "numpy",
    "dill",
    "msgspec",
    "psutil",
)


def look() -> Machine:
    """The machine as it is now; `load_after` is to be filled in at the end."""
    memory = psutil.virtual_memory()
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        cores_usable=len(os.sched_getaffinity(0)),
        memory=memory.total,
        memory_free=memory.available,
        kernel=f"{platform.system()} {platform.release()}",
        load_before=load(),
        load_after=[],
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def load() -> list[float]:
    """Load averages of 1, 5 and 15 minutes."""
    return [round(figure, 2) for figure in os.getloadavg()]


def versions() -> dict[str, str]:
    """Python and every package of the suite that is installed."""
    found = {"python": f"{platform.python_version()} ({platform.python_implementation()})"}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
