"""CPython's own tests of `concurrent.futures`, with `AgentExecutor` in place of its process pool.

They are those of the interpreter that runs this; see `tests.executor.cpython.run` for interpreters
that are built without them, and `tests.executor.cpython.not_applicable` for what is left out.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.executor.cpython.not_applicable import NOT_APPLICABLE

NO_TESTS = 3


@pytest.mark.timeout(600)
def test_the_tests_of_cpython_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.executor.cpython.run"],
        capture_output=True,
        text=True,
        timeout=580,
    )
    if done.returncode == NO_TESTS:
        pytest.skip(done.stdout.strip())
    assert done.stdout, done.stderr[-5000:]
    # CPython's tests print how long each took, in front of it.
    last = done.stdout.splitlines()[-1]
    report = json.loads(last[last.index("{") :])
    assert report["failed"] == {}
    assert report["ran"] >= 40
    assert len(report["left_out"]) <= len(NOT_APPLICABLE)
