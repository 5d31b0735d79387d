"""The simulator in short, in every run of the tests; `tox -e simulate` plays a million steps."""

from __future__ import annotations

import pytest

from tests.simulate import run
from tests.simulate.books import Books
from tests.simulate.world import World

SCHEDULES = 2000
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_no_schedule_breaks_a_rule(part: int) -> None:
    share = run.play(first=part, stride=PARTS, steps=10**9, schedules=SCHEDULES // PARTS)
    if share.failed is not None:
        World(share.failed).play()
    assert share.schedules == SCHEDULES // PARTS


def test_a_seed_is_the_whole_schedule() -> None:
    first, second = World(7), World(7)
    first.play()
    second.play()
    assert [str(told) for told in first.told] == [str(told) for told in second.told]


def test_a_failure_names_its_seed_and_the_command_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Books, *given: object) -> None:
        raise AssertionError("I1: on purpose")

    monkeypatch.setattr(Books, "_resolve", refuse)
    assert run.main(["--seed", "40", "--schedules", "50"]) == 1
    text = capsys.readouterr().out
    assert "AssertionError: I1: on purpose" in text
    seed = text.split("seed ")[1].split()[0]
    assert f"python tests/simulate/run.py --seed {seed} --schedules 1" in text
    assert run.main(["--seed", seed, "--schedules", "1"]) == 1


def test_a_run_reports_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--seed", "1", "--steps", "500", "--jobs", "1"]) == 0
    assert "from seed 1" in capsys.readouterr().out
