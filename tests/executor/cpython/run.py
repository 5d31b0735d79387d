"""Runs CPython's own tests of process pools with `AgentExecutor` in place of theirs.

``python -m tests.executor.cpython.run`` prints a line of JSON: what was run, what was skipped, what
failed. The tests are those of the interpreter that runs this (its package ``test``), or those of
the folder in ``PROCORCH_CPYTHON_TESTS/<version>``, for interpreters that are built without. Exit
code 3: there are none.
"""

from __future__ import annotations

import concurrent.futures.process
import importlib
import importlib.util
import json
import os
import pathlib
import sys
import unittest

from procorch import AgentExecutor
from tests.executor.cpython.not_applicable import NOT_APPLICABLE

NAME = "test_concurrent_futures"
PARTS = (
    "test_init",
    "test_shutdown",
    "test_process_pool",
    "test_wait",
    "test_as_completed",
    "test_deadlock",
)
VARIANT = "ProcessPoolForkserver"
"""Workers are forked from a clean process, as procorch's are. The other variants start them in
another way and test the same."""

WORKERS = 2
"""In place of five: most of the time is their start."""


def modules() -> list[object]:
    """The modules with the tests: from Python 3.12 on it is a package."""
    folder = os.environ.get("PROCORCH_CPYTHON_TESTS")
    if folder:
        sys.path.insert(0, str(pathlib.Path(folder, "{}.{}".format(*sys.version_info))))
    for name in (f"test.{NAME}", NAME):
        if importlib.util.find_spec(name) is not None:
            break
    else:
        print(f"{sys.executable} is built without the module test.{NAME}")
        sys.exit(3)
    whole = importlib.import_module(name)
    if not hasattr(whole, "__path__"):
        return [whole]
    return [importlib.import_module(f"{name}.{part}") for part in PARTS]


def tests(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    found: list[unittest.TestCase] = []
    for test in suite:
        found += tests(test) if isinstance(test, unittest.TestSuite) else [test]
    return found


def main() -> None:
    for where in (concurrent.futures, concurrent.futures.process):
        where.ProcessPoolExecutor = AgentExecutor  # type: ignore[attr-defined]
    loader = unittest.defaultTestLoader
    found = [test for module in modules() for test in tests(loader.loadTestsFromModule(module))]
    found = [test for test in found if VARIANT.lower() in type(test).__name__.lower()]
    for test in found:
        type(test).worker_count = WORKERS  # type: ignore[attr-defined]
    left_out = [test for test in found if any(test.id().endswith(end) for end in NOT_APPLICABLE)]
    suite = unittest.TestSuite(test for test in found if test not in left_out)
    only = sys.argv[1:]
    if only:
        suite = unittest.TestSuite(t for t in found if any(word in t.id() for word in only))
    done = unittest.TextTestRunner(sys.stderr, verbosity=2).run(suite)
    failed = {test.id(): text for test, text in [*done.failures, *done.errors]}
    print(
        json.dumps(
            {
                "ran": done.testsRun,
                "left_out": [test.id() for test in left_out],
                "skipped": {test.id(): why for test, why in done.skipped},
                "failed": failed,
            }
        )
    )


if __name__ == "__main__":
    main()
