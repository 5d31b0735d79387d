"""The machine that figures were measured on."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from procorch.bench.cases import NotMeasurable

_GOVERNORS = "devices/system/cpu/cpu{}/cpufreq/scaling_governor"


def describe(python: str = "", cpus: Sequence[int] = ()) -> dict[str, Any]:
    """Facts that figures depend on.

    Args:
        python: implementation and version that were measured; empty: those of this process.
        cpus: the processors that the measured processes are pinned to; none: those of this one.
    """
    allowed = sorted(cpus or os.sched_getaffinity(0))
    return {
        "host": socket.gethostname(),
        "python": python or f"{sys.implementation.name} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "cpu_model": _cpu_model(),
        "cores": os.cpu_count(),
        "affinity": allowed,
        "governor": _governor(allowed),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _cpu_model() -> str:
    text = _read("/proc/cpuinfo")
    parts = (line.partition(":") for line in text.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in parts}
    # Processors of Arm have no name there, but numbers of maker and part.
    part = " ".join(fields.get(name, "") for name in ("CPU implementer", "CPU part")).strip()
    return fields.get("model name") or fields.get("Model") or part or "unknown"


def _governor(cpus: Sequence[int]) -> str:
    found = {_read(f"/sys/{_GOVERNORS.format(cpu)}").strip() for cpu in cpus}
    return ", ".join(sorted(found - {""})) or "unknown"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def load() -> float:
    """How many processes wanted a processor in the last minute."""
    return os.getloadavg()[0]


def notes(load: float) -> tuple[str, ...]:
    """What should be known of a machine that had this load before the measurement."""
    cores = os.cpu_count() or 1
    if load <= cores:
        return ()
    return (f"the machine was busy: {load:.1f} processes wanted its {cores} cores",)


def read_cpus(text: str) -> tuple[int, ...]:
    """The processors of ``"0"``, ``"0,2"``, ``"1-3"``.

    Raises:
        NotMeasurable: it is no such list, or this process may not use one of them.
    """
    found: set[int] = set()
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            found |= set(range(int(first), int(last or first) + 1))
    except ValueError:
        raise NotMeasurable(f"cpu={text!r}: write numbers of processors, as 0,2 or 1-3") from None
    allowed = os.sched_getaffinity(0)
    if not found or found - allowed:
        there = ", ".join(map(str, sorted(allowed)))
        raise NotMeasurable(f"cpu={text!r}: the processors that may be used are {there}")
    return tuple(sorted(found))
