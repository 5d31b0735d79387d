"""Other settings for an agent that runs: what the machine decides by them follows at once."""

from __future__ import annotations

from typing import Any

import pytest

from procorch.errors import ModelThrottled
from procorch.supervision import actions, notices
from procorch.supervision import events as ev
from procorch.supervision.limits import Backoff, Intensity
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import AgentStatus, Phase, StopStage
from procorch.supervision.throttle import Throttle
from tests.supervision.conftest import Bench


def configure(bench: Bench, agent: int, **settings: Any) -> list[actions.Action]:
    settings.setdefault("backoff", Backoff(initial=0))
    return bench.step(ev.Configure(agent, AgentSettings.of(settings)))


def test_an_agent_that_has_ended_is_left_alone(bench: Bench) -> None:
    a = bench.running()
    bench.step(ev.Cancel(a))
    bench.die(a)
    assert configure(bench, a, max_restarts=9) == []


def test_a_start_under_way_has_the_new_time(bench: Bench) -> None:
    a = bench.spawn(start_timeout=60)
    bench.wait(10)
    configure(bench, a, start_timeout=20)
    bench.wait(9)
    assert bench.pressed(a) == []
    bench.wait(1)
    assert bench.pressed(a) == [StopStage.TERMINATE]


def test_a_new_release_that_starts_beside_has_the_new_time(bench: Bench) -> None:
    a = bench.running(start_timeout=60)
    machine = bench.machine
    machine.step(ev.Reload(a, 2), 0.0)
    machine.step(ev.Configure(a, AgentSettings.of({"start_timeout": 5})), 1.0)
    taken = machine.step(ev.Tick(), 5.0)
    assert actions.StopProcess(a, 2, StopStage.TERMINATE) in taken


@pytest.mark.parametrize("before", [None, 100.0])
def test_a_busy_agent_is_watched_from_now_on(bench: Bench, before: float | None) -> None:
    a = bench.running(heartbeat_timeout=before)
    bench.submit(a)
    configure(bench, a, heartbeat_timeout=4)
    for _ in range(4):
        if any(isinstance(action, actions.Probe) for action in bench.wait(1)):
            bench.step(ev.Probed(a, 1, progress=7))
    assert bench.pressed(a) == []
    bench.wait(1)
    bench.step(ev.Probed(a, 1, progress=7))
    assert bench.pressed(a) == [StopStage.STACK]


def test_a_busy_agent_is_watched_no_longer(bench: Bench) -> None:
    a = bench.running(heartbeat_timeout=4)
    request = bench.submit(a)
    configure(bench, a)
    assert bench.wait(100) == []
    bench.reply(a, request)
    assert bench.error(request) is None


def test_a_process_is_replaced_at_the_new_age(bench: Bench) -> None:
    a = bench.running()
    bench.wait(10)
    configure(bench, a, max_age=15)
    bench.wait(4)
    assert bench.phase(a) is Phase.READY
    bench.wait(1)
    assert bench.phase(a) is Phase.RETIRING


def test_no_age_is_the_last_one(bench: Bench) -> None:
    a = bench.running(max_age=5)
    configure(bench, a)
    bench.wait(100)
    assert bench.phase(a) is Phase.READY


def test_counted_restarts_stay_counted(bench: Bench) -> None:
    a = bench.running(max_restarts=5)
    for _ in range(2):
        bench.die(a)
        bench.policy_says(SupervisorAction.RESTART)
        bench.ready(a)
    configure(bench, a, max_restarts=2)
    bench.die(a)
    bench.policy_says(SupervisorAction.RESTART)
    assert bench.status(a) is AgentStatus.FAILED


def test_the_restart_type_counts_at_the_next_end(bench: Bench) -> None:
    a = bench.running(restart="permanent")
    configure(bench, a, restart="temporary")
    bench.die(a)
    bench.policy_says(SupervisorAction.RESTART)
    assert bench.status(a) is AgentStatus.FAILED


@pytest.mark.parametrize("before", [None, Intensity(5, 60)])
def test_an_intensity_begins_and_ends(bench: Bench, before: Intensity | None) -> None:
    a = bench.running(max_restarts=100, intensity=before)
    configure(bench, a, max_restarts=100, intensity=Intensity(1, 60))
    bench.die(a)
    bench.policy_says(SupervisorAction.RESTART)
    bench.ready(a)
    configure(bench, a, max_restarts=100)
    bench.die(a)
    bench.policy_says(SupervisorAction.RESTART)
    bench.ready(a)
    configure(bench, a, max_restarts=100, intensity=Intensity(0, 60))
    bench.die(a)
    bench.policy_says(SupervisorAction.RESTART)
    assert bench.status(a) is AgentStatus.FAILED


def test_restarts_from_before_count_for_another_intensity(bench: Bench) -> None:
    a = bench.running(max_restarts=100, intensity=Intensity(9, 60))
    for _ in range(2):
        bench.die(a)
        bench.policy_says(SupervisorAction.RESTART)
        bench.ready(a)
    configure(bench, a, max_restarts=100, intensity=Intensity(2, 60))
    bench.die(a)
    bench.policy_says(SupervisorAction.RESTART)
    assert bench.status(a) is AgentStatus.FAILED


def test_the_strategy_and_the_links_of_today_count(bench: Bench) -> None:
    root = bench.running()
    left, right = bench.running(parent=root), bench.running(parent=root)
    configure(bench, root, strategy="one_for_all")
    bench.die(left)
    bench.policy_says(SupervisorAction.RESTART)
    assert bench.phase(right) is Phase.RETIRING
    bench.die(right)
    for each in (left, right):
        bench.ready(each)
    configure(bench, root)
    configure(bench, left, link="stop")
    bench.step(ev.Stop(root, 1.0))
    bench.die(left)
    assert bench.status(left) is AgentStatus.STOPPED
    assert bench.phase(right) is Phase.READY


def test_an_end_that_has_begun_goes_on_with_its_links(bench: Bench) -> None:
    """N7: the parent does not wait for a child that was not told to stop."""
    root = bench.running()
    child = bench.running(parent=root)
    request = bench.submit(root)
    bench.step(ev.Stop(root, 10.0))
    configure(bench, child, link="stop")
    configure(bench, root, strategy="one_for_all")
    bench.reply(root, request)
    bench.die(root)
    assert bench.status(root) is AgentStatus.STOPPED
    assert bench.phase(child) is Phase.READY


def test_a_process_that_was_started_for_one_request_gets_no_second_one(bench: Bench) -> None:
    """It would not wait after an error, so what was ahead would begin twice."""
    a = bench.running(prefetch=1)
    first, second = bench.submit(a), bench.submit(a)
    configure(bench, a, prefetch=5)
    assert [sent for *_, sent in bench.sent] == [first]
    bench.fail(a, first)
    bench.policy_says(SupervisorAction.RESTART)
    bench.die(a)
    bench.ready(a)
    third = bench.submit(a)
    assert [sent for *_, sent in bench.sent] == [first, second, third]


def test_a_process_that_waits_after_an_error_is_told_to_go_on(bench: Bench) -> None:
    a = bench.running(prefetch=3)
    first, second, third = (bench.submit(a) for _ in range(3))
    configure(bench, a, prefetch=1)
    bench.fail(a, first)
    told = bench.policy_says(SupervisorAction.ESCALATE)
    assert any(isinstance(action, actions.Proceed) for action in told)
    for each in (second, third):
        bench.reply(a, each)
    fourth, fifth = bench.submit(a), bench.submit(a)
    assert [sent for *_, sent in bench.sent] == [first, second, third, fourth]
    bench.reply(a, fourth)
    assert bench.sent[-1][2] == fifth


def test_more_ahead_is_sent_at_once(bench: Bench) -> None:
    a = bench.running(prefetch=2)
    requests = [bench.submit(a) for _ in range(4)]
    assert len(bench.sent) == 2
    configure(bench, a, prefetch=3)
    assert [sent for *_, sent in bench.sent] == requests[:3]


def test_the_limit_of_a_process_is_the_one_it_was_started_with(bench: Bench) -> None:
    a = bench.running(memory_limit=1000)
    request = bench.submit(a)
    configure(bench, a)
    bench.step(ev.MemoryExceeded(a, 1, 2000))
    bench.die(a, started=request)
    error = bench.questions[0].error
    assert (error.limit, error.observed) == (1000, 2000)


def test_another_rate_holds_for_the_next_request(bench: Bench) -> None:
    a = bench.running(rate="1/h")
    for _ in range(3):
        bench.submit(a)
    bench.reply(a, 1)
    assert len(bench.sent) == 1
    configure(bench, a, rate="1/s")
    bench.wait(1)
    assert len(bench.sent) == 2
    bench.reply(a, 2)
    configure(bench, a)
    assert len(bench.sent) == 3


def test_a_rate_can_begin(bench: Bench) -> None:
    a = bench.running(throttle=None)
    configure(bench, a, throttle=None, rate="1/s")
    for _ in range(2):
        bench.submit(a)
    bench.reply(a, 1)
    assert len(bench.sent) == 1
    bench.wait(1)
    assert len(bench.sent) == 2


def test_without_a_throttle_a_pause_is_over(bench: Bench) -> None:
    a = bench.running(throttle=Throttle(retries=3))
    first, second = bench.submit(a), bench.submit(a)
    bench.reply(a, first, ModelThrottled("slow down", retry_after=30))
    assert [n.delay for n in told(bench, notices.Throttled)] == [30]
    configure(bench, a, throttle=None)
    assert bench.sent[-1][2] == first
    bench.reply(a, first)
    bench.reply(a, second)
    assert bench.error(first) is bench.error(second) is None


def told(bench: Bench, kind: type) -> list[Any]:
    return [
        action.notice
        for action in bench.log
        if isinstance(action, actions.Notify) and isinstance(action.notice, kind)
    ]


def test_an_instance_that_joins_later_has_the_settings_of_its_agent(bench: Bench) -> None:
    """A `Spawn` that was made before they changed."""
    a = bench.running(max_restarts=1)
    configure(bench, a, max_restarts=7)
    key = next(bench.keys)
    settings = AgentSettings.of({"max_restarts": 1})
    bench.step(ev.Spawn(key, a, f"a{a}", settings, supervised=True, slot=1, joins=True))
    assert bench.machine.instances[key].settings.max_restarts == 7
