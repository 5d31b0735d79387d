"""An agent that is paused by hand: what runs is finished, and nothing more is begun."""

from __future__ import annotations

import pytest

from procorch.errors import RequestTimeout
from procorch.supervision import actions
from procorch.supervision import events as ev
from procorch.supervision.states import AgentStatus, Phase
from tests.supervision.conftest import Bench


def pause(bench: Bench, agent: int, *, paused: bool = True) -> list[actions.Action]:
    return bench.step(ev.SetPaused(agent, paused))


def sent(bench: Bench) -> list[int]:
    return [request for *_, request in bench.sent]


def test_what_runs_is_finished_and_the_rest_waits(bench: Bench) -> None:
    a = bench.running()
    first, second = bench.submit(a), bench.submit(a)
    pause(bench, a)
    bench.reply(a, first)
    assert bench.error(first) is None
    third = bench.submit(a)
    assert sent(bench) == [first]
    assert bench.machine.is_paused(a)
    pause(bench, a, paused=False)
    assert sent(bench) == [first, second]
    bench.reply(a, second)
    assert sent(bench) == [first, second, third]


def test_deadlines_count_meanwhile(bench: Bench) -> None:
    a = bench.running()
    pause(bench, a)
    request = bench.submit(a, timeout=5.0, deadline=5.0)
    bench.wait(5)
    assert isinstance(bench.error(request), RequestTimeout)


def test_what_was_sent_ahead_is_taken_back(bench: Bench) -> None:
    a = bench.running(prefetch=5)
    first, second, third = (bench.submit(a) for _ in range(3))
    assert actions.TakeBack(a, 1, 3) in pause(bench, a)
    bench.step(ev.TakenBack(a, 1, claimed=2, asked=3))  # it was about to begin the second
    bench.reply(a, first)
    bench.reply(a, second)
    assert third not in bench.outcomes
    pause(bench, a, paused=False)
    assert bench.sent[-1][2] == third


def test_it_stays_paused_over_a_death_and_a_change_of_its_instances(bench: Bench) -> None:
    a = bench.running()
    pause(bench, a)
    request = bench.submit(a)
    bench.step(ev.Restart(a))
    bench.die(a)
    bench.ready(a)
    b = next(bench.keys)
    settings = bench.machine.instances[a].settings
    bench.step(ev.Spawn(b, a, f"a{a}", settings, supervised=True, slot=1, joins=True))
    bench.ready(b)
    bench.step(ev.Retire(a))
    bench.die(a)
    bench.step(ev.Retire(b))
    bench.die(b)
    c = next(bench.keys)
    bench.step(ev.Spawn(c, a, f"a{a}", settings, supervised=True, joins=True))
    bench.ready(c)
    assert sent(bench) == []
    pause(bench, a, paused=False)
    assert bench.sent == [(c, 1, request)]


@pytest.mark.parametrize("how", ["drain", "stop", "close"])
def test_an_end_finishes_what_was_accepted(bench: Bench, how: str) -> None:
    """N15."""
    a = bench.running()
    pause(bench, a)
    request = bench.submit(a)
    end = {"drain": ev.Drain(a), "stop": ev.Stop(a, 9.0), "close": ev.Close(True, 9.0)}[how]
    bench.step(end)
    assert sent(bench) == [request]
    bench.reply(a, request)
    bench.die(a)
    assert bench.error(request) is None
    assert bench.status(a) in (AgentStatus.COMPLETED, AgentStatus.STOPPED)


def test_the_width_is_the_same_afterwards(bench: Bench) -> None:
    a = bench.running()
    b = bench.running(mailbox=a)
    bench.step(ev.SetWidth(a, 1))
    pause(bench, a)
    bench.step(ev.SetWidth(a, 1))
    first, _ = bench.submit(a), bench.submit(a)
    assert sent(bench) == []
    pause(bench, a, paused=False)
    assert sent(bench) == [first]
    assert bench.phase(b) is Phase.READY


def test_an_agent_that_has_ended_is_not_paused(bench: Bench) -> None:
    a = bench.running()
    bench.step(ev.Cancel(a))
    bench.die(a)
    assert pause(bench, a) == []
    assert not bench.machine.is_paused(a)
