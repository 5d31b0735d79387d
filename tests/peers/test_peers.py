"""What procorch measures, beside pyperf, hyperfine and GNU time: the same order, the same memory.

No time is compared with a limit: on a busy machine only the order of two programs, one of which
does ten times the work, can be relied on.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from procorch import measure

SMALL, LARGE = 30_000, 300_000
MIB = 1 << 20

pytestmark = pytest.mark.timeout(300)


def work(steps: int) -> int:
    return sum(i * i for i in range(steps))


def statement(steps: int) -> str:
    return f"sum(i * i for i in range({steps}))"


def by_procorch(steps: int) -> float:
    return measure(work, [steps], runs=6, processes=6).wall.median


def by_pyperf(steps: int, folder: Path) -> float:
    out = folder / f"{steps}.json"
    how = ["-q", "-p", "3", "-n", "2", "-l", "1", "-o", str(out)]
    subprocess.run(
        [sys.executable, "-m", "pyperf", "timeit", *how, statement(steps)],
        check=True, capture_output=True,
    )  # fmt: skip
    runs = json.loads(out.read_text())["benchmarks"][0]["runs"]
    values = sorted(value for run in runs for value in run.get("values", ()))
    return float(values[len(values) // 2])


def by_hyperfine(steps: int, folder: Path) -> float:
    out = folder / f"{steps}.hyperfine.json"
    command = f"{sys.executable} -c '[{statement(steps)} for _ in range(20)]'"
    subprocess.run(
        ["hyperfine", "-N", "-r", "5", "--export-json", str(out), command],
        check=True, capture_output=True,
    )  # fmt: skip
    return float(json.loads(out.read_text())["results"][0]["median"])


def test_all_find_the_same_order(tmp_path: Path) -> None:
    assert by_procorch(SMALL) * 3 < by_procorch(LARGE)
    assert by_pyperf(SMALL, tmp_path) * 3 < by_pyperf(LARGE, tmp_path)
    assert by_hyperfine(SMALL, tmp_path) < by_hyperfine(LARGE, tmp_path)


def holding(size: int) -> int:
    return len(bytearray(size).replace(b"\0", b"x"))


def by_gnu_time(size: int) -> int:
    code = f"len(bytearray({size}).replace(b'\\0', b'x'))"
    told = subprocess.run(
        ["/usr/bin/time", "-v", sys.executable, "-c", code],
        check=True, capture_output=True, text=True,
    ).stderr  # fmt: skip
    found = re.search(r"Maximum resident set size \(kbytes\): (\d+)", told)
    assert found
    return int(found[1]) * 1024


def peak(size: int) -> float:
    return measure(holding, [size], runs=3, processes=3, loops=1).peak_rss.median


def test_memory_grows_as_gnu_time_says() -> None:
    """Compared is the growth: the measured interpreter has imported this module, theirs has not."""
    size = 50 * MIB
    theirs = by_gnu_time(size) - by_gnu_time(1)
    ours = peak(size) - peak(1)
    assert theirs == pytest.approx(2 * size, rel=0.05)
    assert ours == pytest.approx(theirs, rel=0.05)
