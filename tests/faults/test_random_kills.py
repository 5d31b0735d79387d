"""Random kills under load: 300 on every run, 10,000 in ``tox -e soak``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import kills

pytestmark = pytest.mark.fault


@pytest.mark.parametrize(
    ("start_method", "count", "lull"),
    [("zygote", 300, 0.02), ("spawn", 20, 0.02)],
    indirect=["start_method"],
)
def test_no_request_is_lost_doubled_or_left_hanging(
    start_method: str, count: int, lull: float, tmp_path: Path
) -> None:
    report = kills.run(count, tmp_path / "executed", seed=4, lull=lull)
    assert report.clean, report
    assert report.kills == count
    assert report.answered + report.crashed == report.requests
    assert report.answered > count
    assert report.crashed > count / 10  # deaths that hit a request
    assert not any(report.left.values()), report.left
