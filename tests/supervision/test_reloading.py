"""The next release of an instance: who serves, and what a failed start means (N19)."""

from __future__ import annotations

import pytest

from procorch.errors import StartError
from procorch.supervision import actions
from procorch.supervision import events as ev
from procorch.supervision.machine import Machine
from procorch.supervision.request import Request
from procorch.supervision.settings import AgentSettings

KEY = 1


@pytest.fixture
def machine() -> Machine:
    """With one instance that is ready, and has a policy."""
    made = Machine(chance=lambda: 1.0, start_limit=1)
    made.step(ev.Spawn(KEY, KEY, "a", AgentSettings(), supervised=True), 0.0)
    made.step(ev.Ready(KEY, 1), 0.0)
    return made


def kinds(taken: list[actions.Action]) -> list[type]:
    return [type(action) for action in taken]


def test_a_successor_does_not_take_over_from_a_process_that_works(machine: Machine) -> None:
    machine.step(ev.Submit(Request(id=7, mailbox=KEY)), 0.0)
    machine.step(ev.Reload(KEY, 2), 0.0)
    assert actions.TakeOver not in kinds(machine.step(ev.Ready(KEY, 2), 0.0))
    assert actions.TakeOver not in kinds(machine.step(ev.Restart(KEY), 0.0))
    machine.step(ev.Replied(KEY, 1, 7), 0.0)
    assert actions.TakeOver in kinds(machine.step(ev.Exited(KEY, 1, ev.Exit(code=0)), 0.0))


def test_no_policy_is_asked_when_a_new_release_does_not_start(machine: Machine) -> None:
    machine.step(ev.Reload(KEY, 2, stop_first=True), 0.0)
    launched = machine.step(ev.Exited(KEY, 1, ev.Exit(code=0)), 0.0)
    assert actions.Launch(KEY, 2, 2) in launched
    machine.step(ev.StartFailed(KEY, 2, StartError("broken")), 0.0)
    taken = machine.step(ev.Exited(KEY, 2, ev.Exit(code=1)), 0.0)
    assert actions.AskPolicy not in kinds(taken)
    assert actions.ReloadEnded in kinds(taken)
    assert actions.Launch(KEY, 3, 1) in taken
