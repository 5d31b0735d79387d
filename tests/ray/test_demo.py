"""`procorch demo --backend ray`: the table of one machine, though a node is killed meanwhile."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from procorch.demo.humaneval import KINDS
from tests.process.conftest import host_environment
from tests.ray.conftest import PATIENCE, Clusters


def test_the_demo_on_three_nodes_survives_the_loss_of_one(
    clusters: Clusters, tmp_path: Path
) -> None:
    clusters.close()  # the demo has one of its own
    done = subprocess.run(
        [sys.executable, "-m", "procorch", "demo", "--backend", "ray", "--json", "--timeout", "8s"],
        cwd=tmp_path, env=host_environment(), capture_output=True, text=True, check=False,
        timeout=2 * PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(row["index"] for row in rows) == list(range(164))
    assert Counter(row["outcome"] for row in rows) == {"passed": 160, "killed": 4}
    killed = {row["candidate"]: row["cause"] for row in rows if row["outcome"] == "killed"}
    assert set(killed) == set(KINDS) - {"canonical"}
    said = " ".join(done.stderr.split())
    assert re.search(r"of 3 was killed after \d+ candidates; in work there, and tried again:", said)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--backend", "spark"], "'spark'"),
        (["--backend", "ray:nowhere"], "'host:port', 'auto' or 'local' was expected"),
        (["--backend", "ray", "--model", "smollm2"], "--model runs on this machine"),
    ],
)
def test_a_mistake_is_told_before_anything_is_started(
    arguments: list[str], complaint: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "procorch", "demo", *arguments],
        cwd=tmp_path, env=host_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert complaint in " ".join(done.stderr.split())
