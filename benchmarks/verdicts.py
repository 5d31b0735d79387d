"""How often tools that measure are right: equal code, and code that is 2, 5 or 10 % slower.

    python -m benchmarks.verdicts [--times 100] [--json FILE]

Each round compares the same two programs with procorch, with pyperf and with hyperfine, one tool
after the other, so that all meet the same machine. A claim about equal code is false; a slower
program that is not called slower is missed. pyperf and hyperfine take part where they are
installed. For figures under load, run something else at the same time.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from procorch.bench import Comparison
from procorch.bench.amounts import Amounts
from procorch.bench.cases import Case, serialise
from procorch.bench.process import Conditions
from procorch.bench.session import Session

WORK = 20_000
"""Steps of the program, about a millisecond."""
SLOWER = (0.0, 0.02, 0.05, 0.10)
PROCESSES = 10
PROGRAM = "def work(_=None):\n    return sum(i * i for i in range({steps}))\n"
Claim = str
"""``slower``, ``faster`` or ``same``."""


def by_procorch(before: Path, after: Path) -> Claim:
    """With its defaults: 20 runs in 10 processes each, in turn."""
    cases = [
        Case(name, app=f"{path}:work", requests=(serialise(None),))
        for name, path in (("a", before), ("b", after))
    ]
    session = Session(cases, Amounts(processes=PROCESSES), Conditions())
    session.execute()
    first, second = session.measurements()
    return Comparison(first, second).verdict


def by_pyperf(before: Path, after: Path) -> Claim:
    """As many processes, three values each, one program after the other; its own verdict."""
    files = []
    for path in (before, after):
        out = path.with_suffix(".pyperf.json")
        out.unlink(missing_ok=True)
        load = f"import runpy; work = runpy.run_path({str(path)!r})['work']"
        how = ["-q", "-p", str(PROCESSES), "-n", "3", "-l", "5", "-s", load, "-o", str(out)]
        _ran([sys.executable, "-m", "pyperf", "timeit", *how, "work()"])
        files.append(str(out))
    said = _ran([sys.executable, "-m", "pyperf", "compare_to", *files])
    if "Not significant" in said or "hidden" in said or "no change" in said:
        return "same"
    return "slower" if "slower" in said else "faster" if "faster" in said else "same"


def by_hyperfine(before: Path, after: Path) -> Claim:
    """Whole commands with 20 calls each; a claim is a ratio that differs from 1 by its error."""
    out = before.with_suffix(".hyperfine.json")
    commands = [
        f"{sys.executable} -c 'exec(open(\"{path}\").read()); [work() for _ in range(20)]'"
        for path in (before, after)
    ]
    _ran(["hyperfine", "-N", "-w", "1", "-r", "10", "--export-json", str(out), *commands])
    a, b = json.loads(out.read_text())["results"]
    ratio = b["mean"] / a["mean"]
    error = ratio * ((a["stddev"] / a["mean"]) ** 2 + (b["stddev"] / b["mean"]) ** 2) ** 0.5
    if abs(ratio - 1) <= error:
        return "same"
    return "slower" if ratio > 1 else "faster"


def _ran(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def tools() -> dict[str, Callable[[Path, Path], Claim]]:
    """The tools that are installed."""
    found: dict[str, Callable[[Path, Path], Claim]] = {"procorch": by_procorch}
    if importlib.util.find_spec("pyperf"):
        found["pyperf"] = by_pyperf
    if shutil.which("hyperfine"):
        found["hyperfine"] = by_hyperfine
    return found


def count(times: int, slower: float) -> dict[str, dict[Claim, int]]:
    """How often each tool claims what, in ``times`` comparisons."""
    found = {name: {"slower": 0, "same": 0, "faster": 0} for name in tools()}
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.py"), Path(folder, "after.py")
        before.write_text(PROGRAM.format(steps=WORK))
        after.write_text(PROGRAM.format(steps=round(WORK * (1 + slower))))
        for _ in range(times):
            for name, compare in tools().items():
                found[name][compare(before, after)] += 1
    return found


def table(counted: dict[float, dict[str, dict[Claim, int]]], times: dict[float, int]) -> str:
    """The counts in Markdown: claims about equal code, and slower code that was found."""
    lines = ["| second program | " + " | ".join(tools()) + " |"]
    lines.append("| --- |" + " ---: |" * len(tools()))
    for slower, of in counted.items():
        cells = [
            f"{row['slower'] + row['faster']} of {times[slower]} claims"
            if not slower
            else f"{row['slower']} of {times[slower]} found"
            for row in of.values()
        ]
        what = "equal" if not slower else f"{slower:.0%} slower"
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=100, help="comparisons of equal code")
    parser.add_argument("--json", type=Path, help="write the counts to this file, too")
    given = parser.parse_args()
    times = {slower: given.times if not slower else max(1, given.times // 4) for slower in SLOWER}
    counted: dict[float, dict[str, dict[Claim, int]]] = {}
    for slower in SLOWER:
        counted[slower] = count(times[slower], slower)
        print(f"{slower:.0%}: {counted[slower]}", file=sys.stderr)
    print(table(counted, times))
    if given.json is not None:
        data: dict[str, Any] = {str(slower): of for slower, of in counted.items()}
        given.json.write_text(json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    main()
