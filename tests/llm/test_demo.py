"""`procorch demo --model smollm2`, with the model itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from procorch.models.store import cache_dir
from tests.cli.conftest import COMMAND, environment

pytestmark = [pytest.mark.model, pytest.mark.timeout(240)]


def test_a_real_model_writes_candidates_and_other_agents_execute_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "demo", "--model", "smollm2", "--limit", "3", "--json"],
        cwd=tmp_path, env=environment({"PROCORCH_CACHE": str(cache_dir())}), text=True,
        capture_output=True, stdin=subprocess.DEVNULL, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = sorted(map(json.loads, done.stdout.splitlines()), key=lambda row: row["index"])
    assert [row["id"] for row in rows] == ["HumanEval/0", "HumanEval/1", "HumanEval/2"]
    for row in rows:
        assert "def " in row["answer"]
        assert "```" not in row["answer"][3:].rstrip("`\n"), "it went on after the code"
        assert row["tokens"] > 10
        assert row["agent"] == "solver"
        assert row["outcome"] in ("passed", "failed", "killed")
    assert "smollm2 wrote 3 of them: " in done.stderr
    assert " of 3 candidates in " in done.stderr
