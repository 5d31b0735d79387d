"""What type checkers say about the code of users; `tox -e types` has both of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MISTAKES = HERE / "mistakes.py"


def mypy(path: Path) -> set[int]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(path)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return {int(line) for line in re.findall(rf"^{path.name}:(\d+):.* error:", done.stdout, re.M)}


def pyright(path: Path) -> set[int]:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(
        [*command, str(path)], cwd=HERE, capture_output=True, text=True, check=False
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {each["range"]["start"]["line"] + 1 for each in found if each["severity"] == "error"}


CHECKERS = pytest.mark.parametrize("checker", [mypy, pyright])


@CHECKERS
@pytest.mark.timeout(180)
def test_code_without_mistakes_is_accepted(checker) -> None:
    assert checker(HERE / "correct.py") == set()


@CHECKERS
@pytest.mark.timeout(180)
def test_every_planted_mistake_is_found_and_nothing_else(checker) -> None:
    lines = MISTAKES.read_text().splitlines()
    planted = {number for number, line in enumerate(lines, 1) if "# mistake" in line}
    assert len(planted) >= 20
    assert checker(MISTAKES) == planted
