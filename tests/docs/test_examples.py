"""The examples of the docs do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs.test_blocks import ROOT
from tests.process.conftest import host_environment

EXAMPLES = ROOT / "docs" / "examples"


def test_the_team_answers_though_one_of_it_is_killed(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / "team.py")],
        cwd=tmp_path,
        env=host_environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert lines[0] == "planner: historian died of SIGKILL; asking again"
    assert lines[1].startswith("Paris: (1) You write one short paragraph.")
    used = "used by the team: 40 tokens in, 20 out, 0.0000 $"
    assert lines.count(used) == 2
    rome = next(line for line in lines if line.startswith("Rome: "))
    assert rome.startswith("Rome: (3)")  # the planner remembers Paris
