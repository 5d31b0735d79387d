"""Break procorch on purpose, one rule at a time, and see whether the tests notice.

    python tests/mutants/run.py                # all mutants
    python tests/mutants/run.py gate window    # those whose names contain one of the words

Each mutant is applied to a copy of the package in a temporary directory; the tests that it names
run against that copy, and each of them must fail. First they all run against an unbroken copy and
must pass, or their failing would mean nothing. The exit code is 1 where a mutant survived, where
the code to be broken no longer occurs exactly once, or where a test does not exist.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

# Appended, so that an installed procorch is the one under test, not the source beside the tests.
sys.path.append(str(Path(__file__).resolve().parents[2]))

import procorch
from tests.mutants.mutant import AnyMutant
from tests.mutants.rules import MUTANTS
from tests.mutants.structure import Outdated

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 600.0  # seconds for the tests of one mutant; a test that hangs ends by its own timeout
SOME_FAILED = 1  # pytest's exit code


class Verdict(NamedTuple):
    """What became of one mutant; ``complaint`` is empty where it was killed."""

    mutant: AnyMutant
    seconds: float
    complaint: str


SOURCE = Path(procorch.__file__).parent


def outdated(mutant: AnyMutant) -> str:
    """Why the mutant cannot be made any more; empty where it can."""
    path = SOURCE / mutant.file
    if not path.is_file():
        return f"procorch/{mutant.file} does not exist"
    source = path.read_text(encoding="utf-8")
    try:
        broken = mutant.broken(source)
        compile(broken, mutant.file, "exec")
    except (Outdated, SyntaxError) as error:
        return f"{error} (procorch/{mutant.file})"
    changes = ast.dump(ast.parse(broken)) != ast.dump(ast.parse(source))
    return "" if changes else f"it changes nothing in procorch/{mutant.file}"


def pytest(copy: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run tests against the package in ``copy``, in an interpreter that finds no other first."""
    # Without SAFEPATH the current directory, with the unbroken package in it, would come first, for
    # pytest and for the programs that tests start.
    paths = {"PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1"}
    environment = {**os.environ, **paths, "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-q", "-x", "--tb=no", "--no-header", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT
    )


def fresh_copy(directory: Path) -> Path:
    """A copy of the package below ``directory``, to be put on the path."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCE, directory / "procorch", ignore=ignored)
    return directory


def attempt(mutant: AnyMutant) -> Verdict:
    """Apply one mutant and see which of its tests notice."""
    began = time.monotonic()
    complaint = outdated(mutant)
    if not complaint:
        with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
            copy = fresh_copy(Path(directory))
            path = copy / "procorch" / mutant.file
            path.write_text(mutant.broken(path.read_text(encoding="utf-8")), encoding="utf-8")
            complaint = "; ".join(filter(None, (unmoved(copy, test) for test in mutant.tests)))
    return Verdict(mutant, time.monotonic() - began, complaint)


def unmoved(copy: Path, test: str) -> str:
    """Why ``test`` does not count as failed; empty where it failed."""
    try:
        result = pytest(copy, (test,))
    except subprocess.TimeoutExpired:
        return ""  # it noticed so much that it never came back
    if result.returncode == SOME_FAILED:
        return ""
    if result.returncode == 0:
        return f"survived {test}"
    last = (result.stdout.strip() or result.stderr.strip()).splitlines()[-1:]
    return f"{test} could not be run: {' '.join(last)}"


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 where every mutant was killed by each of its tests."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="only mutants whose names contain one of these")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at the same time")
    given = parser.parse_args(arguments)
    chosen = [
        mutant
        for mutant in MUTANTS
        if not given.words or any(word in mutant.name for word in given.words)
    ]
    print(f"{len(chosen)} mutants of {SOURCE}")
    with tempfile.TemporaryDirectory(prefix="unbroken-") as directory:
        tests = tuple(sorted({test for mutant in chosen for test in mutant.tests}))
        copy = fresh_copy(Path(directory))
        for file in {mutant.file for mutant in chosen}:
            # As mutants are written: without comments and in another layout.
            path = copy / "procorch" / file
            path.write_text(ast.unparse(ast.parse(path.read_text(encoding="utf-8"))), "utf-8")
        unbroken = pytest(copy, tests)
        if unbroken.returncode != 0:
            print(unbroken.stdout, "the tests do not pass on the unbroken package", sep="\n")
            return 1
    survived = 0
    with ThreadPoolExecutor(given.jobs) as pool:
        for verdict in pool.map(attempt, chosen):
            survived += bool(verdict.complaint)
            outcome = verdict.complaint and f"NOT KILLED: {verdict.complaint}"
            outcome = outcome or "killed"
            print(f"{verdict.seconds:6.1f} s  {verdict.mutant.name}: {outcome}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} mutants killed")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
