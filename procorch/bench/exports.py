"""Measurements in the formats of other tools, so that dashboards that read those go on working."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from procorch.bench.measurement import Measurement
from procorch.bench.records import Run


def pyperf(measured: Sequence[Measurement]) -> str:
    """JSON that ``pyperf stats`` and ``pyperf compare_to`` read: one of their runs a process.

    Measurements without a run that succeeded are left out: the format has no place for them.
    """
    benchmarks = [
        {
            "metadata": {"name": m.name, "unit": "second"},
            "runs": [_pyperf_run(runs) for runs in _by_process(m).values()],
        }
        for m in measured
        if m.runs
    ]
    return json.dumps({"benchmarks": benchmarks, "metadata": {}, "version": "1.0"}) + "\n"


def pytest_benchmark(measured: Sequence[Measurement]) -> str:
    """JSON as ``pytest --benchmark-json`` writes it, for ``pytest-benchmark compare``.

    Measurements without a run that succeeded are left out: the format has no place for them.
    """
    good = [m for m in measured if m.runs]
    machine = good[0].machine if good else {}
    python = str(machine.get("python", ""))
    data = {
        "machine_info": {
            "node": machine.get("host", ""),
            "processor": machine.get("cpu", machine.get("processor", "")),
            "machine": machine.get("processor", ""),
            "python_implementation": python.partition(" ")[0],
            "python_version": python.partition(" ")[2],
            "system": str(machine.get("system", "")).partition(" ")[0],
            "release": str(machine.get("system", "")).partition(" ")[2],
            "cpu": {},
        },
        "commit_info": {"id": "unversioned", "dirty": False, "time": None, "branch": "(unknown)"},
        "benchmarks": [_pytest_benchmark_one(m) for m in good],
        "datetime": _iso(_began(good[0]) if good else 0.0),
        "version": "5.0.0",
    }
    return json.dumps(data, indent=1) + "\n"


def benchstat(measured: Sequence[Measurement]) -> str:
    """Lines in the format of Go's benchmarks, which ``benchstat old.txt new.txt`` compares."""
    lines = [
        f"Benchmark{_go_name(m.name)} {run.loops} {run.wall * 1e9:.1f} ns/op "
        f"{run.peak_rss} peak-B/op"
        for m in measured
        for run in m.runs
    ]
    return "".join(line + "\n" for line in lines)


FORMATS: Mapping[str, Callable[[Sequence[Measurement]], str]] = {
    "pyperf": pyperf,
    "pytest-benchmark": pytest_benchmark,
    "benchstat": benchstat,
}
"""The function that writes each format, by the name of the tool."""


def _by_process(measured: Measurement) -> dict[int, list[Run]]:
    groups: dict[int, list[Run]] = {}
    for run in measured.runs:
        groups.setdefault(run.process, []).append(run)
    return groups


def _pyperf_run(runs: Sequence[Run]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "date": _iso(runs[0].began).partition("+")[0].replace("T", " "),
        "loops": runs[0].loops,
        "mem_max_rss": max(run.peak_rss for run in runs),
    }
    if runs[0].hash_seed is not None:
        metadata["python_hash_seed"] = runs[0].hash_seed
    found: dict[str, Any] = {"metadata": metadata, "values": [run.wall for run in runs]}
    cold = [[1, run.cold] for run in runs if run.cold is not None]
    if cold:
        found["warmups"] = cold
    return found


def _pytest_benchmark_one(measured: Measurement) -> dict[str, Any]:
    wall, quartiles = measured.wall, [measured.wall.percentile(p) for p in (25, 75)]
    params = dict(measured.plan.params or {}) if measured.plan else {}
    return {
        "group": None,
        "name": measured.name,
        "fullname": measured.name,
        "params": params or None,
        "param": None,
        "extra_info": {"success": measured.success, "peak_rss": measured.peak_rss.median},
        "options": {"timer": "perf_counter", "warmup": True, "min_rounds": wall.count},
        "stats": {
            "min": wall.min,
            "max": wall.max,
            "mean": wall.mean,
            "stddev": wall.sd,
            "rounds": wall.count,
            "median": wall.median,
            "iqr": quartiles[1] - quartiles[0],
            "q1": quartiles[0],
            "q3": quartiles[1],
            "iqr_outliers": 0,
            "stddev_outliers": len(wall.outliers),
            "outliers": f"{len(wall.outliers)};0",
            "ld15iqr": wall.min,
            "hd15iqr": wall.max,
            "ops": 1 / wall.mean if wall.mean else 0.0,
            "total": sum(wall.values),
            "data": list(wall.values),
            "iterations": round(statistics.median(run.loops for run in measured.runs)),
        },
    }


def _go_name(name: str) -> str:
    """A name without white space, which separates the columns; its first letter is a capital."""
    joined = "_".join(name.split())
    return joined[:1].upper() + joined[1:]


def _began(measured: Measurement) -> float:
    return min(run.began for run in measured.runs)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
