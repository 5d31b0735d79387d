"""The team of docs/examples, with a real model in the process of each."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from procorch.models.store import cache_dir
from tests.docs.test_examples import EXAMPLES
from tests.process.conftest import host_environment

pytestmark = [pytest.mark.model, pytest.mark.timeout(240)]


def test_a_team_with_a_real_model_answers_though_one_of_it_is_killed(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / "team.py"), "--model", "smollm2"],
        cwd=tmp_path,
        env=host_environment() | {"PROCORCH_CACHE": str(cache_dir())},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "planner: historian died of SIGKILL; asking again" in run.stdout
    assert re.search(r"^Paris: \w+", run.stdout, re.MULTILINE)
    assert re.search(r"^Rome: \w+", run.stdout, re.MULTILINE)
    paris, rome = (
        int(number) for number in re.findall(r"used by the team: (\d+) tokens in", run.stdout)
    )
    assert rome > paris, "the team remembers Paris"
