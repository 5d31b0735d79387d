"""A runner that is killed at any moment loses nothing, and nothing is run again."""

from __future__ import annotations

import os
from pathlib import Path

from tests.batch.kills import trial


def test_a_killed_runner_goes_on_where_it_was(tmp_path: Path) -> None:
    """Twenty kills and 20,000 items are in `tox -e soak-batch`."""
    report = trial(tmp_path, items=400, kills=3, seed=os.getpid(), longest=0.3)
    assert not report.wrong, report.wrong[:5]
    assert report.at_kill[-1] == 400
    # Under way at a kill are two items that run, and some whose outcome was not yet written.
    assert 400 <= report.executions <= 400 + 3 * 300
