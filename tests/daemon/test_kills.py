"""``kill -9`` of the daemon at random moments: nothing survives it, nothing is damaged."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.daemon.killing import kill_often

KILLS = 8


@pytest.mark.timeout(180)  # a busy machine; alone it takes some seconds
def test_a_daemon_that_is_killed_leaves_nothing_and_starts_again_at_once(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    report = kill_often(tmp_path, KILLS, seed, at_work=0.2)
    assert report.wrong == [], f"seed {seed}"
