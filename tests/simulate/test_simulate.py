"""The simulator in short, in every run of the tests; `tox -e simulate` plays a million steps."""

from __future__ import annotations

import pytest

from procorch.supervision import actions, dispatch, requests
from procorch.supervision import events as ev
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


def decisions(seed: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], int]:
    """What the machine answers to a schedule, step by step, and how many steps were short."""
    taken: list[str] = []
    step = World._step

    def noted(world: World, event: ev.Event) -> list[actions.Action]:
        answer = step(world, event)
        # On the short path an outcome comes before what follows it.
        taken.append(f"{event}: {sorted(map(str, answer))}, then {world._machine.next_due()}")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(World, "_step", noted)
        world = World(seed)
        world.play()
    return taken, world.shortened


@pytest.mark.parametrize("part", range(PARTS))
def test_the_short_way_of_a_request_decides_what_the_long_one_does(
    part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortened = 0
    for seed in range(part, 400, PARTS):
        short, count = decisions(seed, monkeypatch)
        shortened += count
        with monkeypatch.context() as patch:
            patch.setattr(dispatch, "_idle_member", lambda core, request: None)
            patch.setattr(requests, "_is_healthy", lambda core, a, number: False)
            long, none = decisions(seed, monkeypatch)
        assert short == long, seed
        assert none == 0
    assert shortened > 100


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
