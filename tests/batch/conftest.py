"""Fixtures of the batch tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What workers have begun so far, in order; a repeated item is there as often as it was run."""
    path = tmp_path / "executed"
    monkeypatch.setenv("EXECUTED", str(path))

    def read() -> list[str]:
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.partition(" ")[2] for line in lines]

    return read
