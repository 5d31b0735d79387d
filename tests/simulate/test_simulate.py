"""The simulator in short, in every run of the tests; `tox -e simulate` plays a million steps."""

from __future__ import annotations

import pytest

from procorch.supervision import actions, dispatch, requests
from procorch.supervision import events as ev
from procorch.supervision.ledger import Ledger
from procorch.supervision.machine import Machine
from procorch.supervision.request import Request
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


def decisions(seed: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the machine answers to a schedule, step by step."""
    taken: list[str] = []
    step = Machine.step

    def noted(machine: Machine, event: ev.Event, now: float) -> list[actions.Action]:
        answer = step(machine, event, now)
        taken.append(f"{event}: {answer}, then {machine.next_due()}")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Machine, "step", noted)
        World(seed).play()
    return taken


@pytest.mark.parametrize("part", range(PARTS))
def test_the_short_way_of_a_request_decides_what_the_long_one_does(
    part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortened = 0
    hand_over = Ledger.hand_over

    def counted(self: Ledger, request: Request, worker: int) -> None:
        nonlocal shortened
        shortened += 1
        hand_over(self, request, worker)

    monkeypatch.setattr(Ledger, "hand_over", counted)
    for seed in range(part, 400, PARTS):
        short = decisions(seed, monkeypatch)
        with monkeypatch.context() as patch:
            patch.setattr(dispatch, "_idle_member", lambda core, request: None)
            patch.setattr(requests, "_is_healthy", lambda core, a, event: False)
            assert short == decisions(seed, monkeypatch), seed
    assert shortened > 30


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
