"""Agents with several instances on the pure machine: one of them, all of them, none of them."""

from __future__ import annotations

from typing import Any

import pytest

from procorch.errors import Aborted, AgentStopped, RequestTimeout, StartError
from procorch.supervision import actions, notices
from procorch.supervision import events as ev
from procorch.supervision.limits import Backoff, Intensity
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import AgentStatus, Phase, StopStage

RESTART, STOP, ESCALATE = SupervisorAction


def several(bench: Any, count: int = 2, **settings: Any) -> list[int]:
    """An agent with that many instances, all ready; its number is the key of the first."""
    first = bench.running(**settings)
    return [first, *(bench.running(mailbox=first, **settings) for _ in range(count - 1))]


def ends(bench: Any) -> dict[int, AgentStatus]:
    """The agents that have ended, with their status."""
    return {a.agent: a.status for a in bench.log if isinstance(a, actions.AgentEnded)}


def leave(bench: Any, *keys: int) -> None:
    """These processes leave, as they were told to."""
    for key in keys:
        bench.die(key, signal="SIGTERM")


def generations(bench: Any, *keys: int) -> list[int]:
    return [bench.generation(key) for key in keys]


def fail(bench: Any, key: int, action: SupervisorAction = RESTART) -> None:
    bench.die(key)
    bench.policy_says(action)


# ---- one of them


def test_a_crash_is_of_one_instance_alone(bench: Any) -> None:
    first, second = several(bench)
    fail(bench, first)
    bench.ready(first)
    assert generations(bench, first, second) == [2, 1]


def test_an_agent_goes_on_while_one_instance_is_left(bench: Any) -> None:
    first, second = several(bench)
    fail(bench, first, STOP)
    assert bench.status(first) is AgentStatus.FAILED
    assert ends(bench) == {}
    request = bench.submit(first)
    assert bench.sent[-1] == (second, 1, request)
    fail(bench, second, STOP)
    assert ends(bench) == {first: AgentStatus.FAILED}
    assert isinstance(bench.error(bench.submit(first)), AgentStopped)


def test_children_belong_to_the_agent_and_not_to_one_instance(bench: Any) -> None:
    first, second = several(bench)
    child = bench.running(parent=first, link="stop")
    fail(bench, first, STOP)
    assert bench.phase(child) is Phase.READY
    fail(bench, second, STOP)
    assert bench.phase(child) is Phase.STOPPING


def test_children_are_restarted_with_all_instances_of_their_parent_and_not_with_one(
    bench: Any,
) -> None:
    root = bench.running(strategy="one_for_all")
    first, second = several(bench, parent=root)
    sibling = bench.running(parent=root)
    child = bench.running(parent=first, link="restart")
    bench.step(ev.Restart(first))
    leave(bench, first)
    bench.ready(first)
    assert generations(bench, first, second, child) == [2, 1, 1]
    fail(bench, sibling)
    for keys in ([child], [second, first]):
        leave(bench, *keys)
    for key in (first, second, child, sibling):
        bench.ready(key)
    assert generations(bench, first, second, child, sibling) == [3, 2, 2, 2]


def test_the_end_of_an_agent_is_that_of_its_last_instance(bench: Any) -> None:
    root = bench.running(auto_shutdown="any_significant")
    first, second = several(bench, parent=root, significant=True)
    fail(bench, first, STOP)
    assert bench.phase(root) is Phase.READY
    fail(bench, second, STOP)
    assert bench.phase(root) is Phase.STOPPING


# ---- all of them


def test_a_group_restart_is_one_of_all_instances_of_its_members(bench: Any) -> None:
    root = bench.running(strategy="one_for_all")
    first, second = several(bench, parent=root)
    third = bench.running(parent=root)
    fail(bench, third)
    assert bench.phase(first) is bench.phase(second) is Phase.RETIRING  # at the same time
    leave(bench, second)
    assert bench.phase(first) is Phase.RETIRING
    leave(bench, first)
    assert bench.phase(first) is bench.phase(second) is Phase.STARTING
    bench.ready(second)
    assert bench.phase(third) is Phase.HELD
    bench.ready(first)
    assert bench.phase(third) is Phase.STARTING


def test_rest_for_one_takes_the_other_instances_of_the_one_that_failed(bench: Any) -> None:
    root = bench.running(strategy="rest_for_one")
    before = bench.running(parent=root)
    first, second = several(bench, parent=root)
    after = bench.running(parent=root)
    fail(bench, second)
    leave(bench, after, first)
    for key in (first, second, after):
        bench.ready(key)
    assert generations(bench, before, first, second, after) == [1, 2, 2, 2]


def test_a_busy_instance_of_the_one_that_failed_is_terminated(bench: Any) -> None:
    root = bench.running(strategy="one_for_all")
    first, second = several(bench, parent=root)
    request = bench.submit(first)
    fail(bench, second)
    assert bench.pressed(first) == [StopStage.TERMINATE]
    leave(bench, first)
    assert bench.error(request).cause == bench.machine.instances[first].name


def test_instances_start_together_after_the_backoff_of_their_group(bench: Any) -> None:
    root = bench.running(strategy="one_for_all")
    backoff = Backoff(initial=4, jitter=False)
    first, second = several(bench, parent=root, backoff=backoff)
    for _ in range(2):
        fail(bench, first)
        leave(bench, second)
        if bench.phase(first) is Phase.BACKOFF:
            assert bench.phase(second) is Phase.HELD
            bench.wait(4)
        assert bench.phase(first) is bench.phase(second) is Phase.STARTING
        bench.ready(first)
        bench.ready(second)
    assert generations(bench, first, second) == [3, 3]


def test_all_instances_wait_for_the_backoff_of_their_group(bench: Any) -> None:
    root = bench.running(strategy="one_for_all")
    backoff = Backoff(initial=4, jitter=False)
    first, second = several(bench, parent=root, backoff=backoff)
    third = bench.running(parent=root)
    for _ in range(2):
        fail(bench, first)
        leave(bench, third, second)
        if bench.phase(first) is Phase.STARTING:
            for key in (first, second, third):
                bench.ready(key)
    assert bench.phase(first) is Phase.BACKOFF
    bench.step(ev.Cancel(third))  # it leaves the group, which goes on without it
    assert bench.phase(second) is Phase.HELD
    bench.wait(4)
    assert bench.phase(second) is Phase.STARTING


def test_the_intensity_counts_the_restarts_of_all_instances(bench: Any) -> None:
    first, second = several(bench, intensity=Intensity(2, 60), max_restarts=9)
    for key in (first, second):
        fail(bench, key)
        bench.ready(key)
    fail(bench, first)
    assert bench.status(first) is AgentStatus.FAILED
    assert bench.phase(second) is Phase.STOPPING
    leave(bench, second)
    assert ends(bench) == {first: AgentStatus.FAILED}
    told = [a.notice for a in bench.log if isinstance(a, actions.Notify)]
    assert sum(isinstance(notice, notices.Escalated) for notice in told) == 1


def test_an_agent_that_exceeds_its_intensity_has_ended_by_itself(bench: Any) -> None:
    root = bench.running(auto_shutdown="any_significant")
    given = {"intensity": Intensity(0, 60), "significant": True}
    first, second = several(bench, parent=root, **given)
    fail(bench, first)
    leave(bench, second)
    assert bench.phase(root) is Phase.STOPPING


def test_a_policy_that_restarts_the_parent_restarts_all_its_instances(bench: Any) -> None:
    first, second = several(bench, reconsiders=True)
    child = bench.running(parent=first)
    bench.fail(child, bench.submit(child))
    bench.policy_says(ESCALATE)
    asked = next(a for a in bench.log if isinstance(a, actions.Reconsider))
    bench.step(ev.Reconsidered(asked.key, asked.ticket, asked.child, asked.error, RESTART))
    leave(bench, second, first)
    bench.ready(first)
    bench.ready(second)
    assert generations(bench, first, second) == [2, 2]
    assert [bench.machine.instances[key].limits.total for key in (first, second)] == [1, 0]


def test_a_policy_that_stops_the_parent_stops_all_its_instances(bench: Any) -> None:
    first, second = several(bench, reconsiders=True)
    child = bench.running(parent=first)
    bench.fail(child, bench.submit(child))
    bench.policy_says(ESCALATE)
    asked = next(a for a in bench.log if isinstance(a, actions.Reconsider))
    bench.step(ev.Reconsidered(asked.key, asked.ticket, asked.child, asked.error, STOP))
    leave(bench, first, second)
    assert ends(bench) == {first: AgentStatus.FAILED}


def test_the_policy_of_a_ready_instance_is_asked_about_the_agent(bench: Any) -> None:
    first, second = several(bench, reconsiders=True)
    child = bench.running(parent=first)
    bench.step(ev.Restart(first))
    bench.fail(child, bench.submit(child))
    bench.policy_says(ESCALATE)
    assert [a.key for a in bench.log if isinstance(a, actions.Reconsider)] == [second]


def test_a_stop_finishes_the_queue_with_all_instances_children_first(bench: Any) -> None:
    first, second = several(bench)
    child = bench.running(parent=first, link="stop")
    requests = [bench.submit(first) for _ in range(4)]
    bench.step(ev.Stop(first, 5.0))
    for key, request in zip((first, second) * 2, requests, strict=True):
        bench.reply(key, request)
    assert {key for key, _, _ in bench.sent} == {first, second}
    assert bench.phase(first) is bench.phase(second) is Phase.READY
    leave(bench, child)
    assert bench.phase(first) is bench.phase(second) is Phase.STOPPING
    leave(bench, first)
    assert ends(bench) == {child: AgentStatus.STOPPED}
    leave(bench, second)
    assert ends(bench) == {child: AgentStatus.STOPPED, first: AgentStatus.STOPPED}


def test_one_that_had_nothing_left_to_do_serves_what_another_leaves_behind(bench: Any) -> None:
    first, second = several(bench, retries=1, allowed_failures=2)
    child = bench.running(parent=first, link="stop")
    bench.submit(child)
    request = bench.submit(first, retries=1, allowed_failures=2)
    bench.step(ev.Stop(first, 5.0))
    fail(bench, second)
    assert bench.phase(second) is Phase.HELD
    fail(bench, first, STOP)
    bench.ready(second)
    bench.reply(second, request)
    assert bench.error(request) is None


def test_a_cancel_ends_all_instances(bench: Any) -> None:
    first, second = several(bench)
    runs, also, waits = (bench.submit(first) for _ in range(3))
    bench.step(ev.Cancel(first))
    assert [type(bench.error(each)) for each in (runs, also, waits)] == [
        Aborted, Aborted, AgentStopped,
    ]  # fmt: skip
    leave(bench, first, second)
    assert ends(bench) == {first: AgentStatus.CANCELLED}


# ---- fewer of them, and none


def test_an_instance_that_is_retired_finishes_its_request_and_takes_no_more(bench: Any) -> None:
    first, second = several(bench)
    one, two = bench.submit(first), bench.submit(first)
    bench.step(ev.Retire(second))
    waits = bench.submit(first)
    bench.reply(second, two)
    assert bench.phase(second) is Phase.STOPPING
    bench.reply(first, one)
    assert bench.sent[-1] == (first, 1, waits)
    leave(bench, second)
    assert bench.status(second) is AgentStatus.COMPLETED
    assert ends(bench) == {}


def test_an_instance_that_is_retired_does_not_wait_for_children(bench: Any) -> None:
    first, second = several(bench)
    child = bench.running(parent=first, link="stop")
    bench.step(ev.Retire(second))
    assert bench.phase(second) is Phase.STOPPING
    leave(bench, second)
    assert bench.phase(child) is Phase.READY


def test_requests_wait_for_the_next_instance_where_all_were_retired(bench: Any) -> None:
    key = bench.running()
    bench.step(ev.Retire(key))
    request = bench.submit(key)
    leave(bench, key)
    assert ends(bench) == {}
    assert request not in bench.outcomes
    successor = bench.spawn(mailbox=key)
    bench.ready(successor)
    assert bench.sent == [(successor, 1, request)]


def test_a_deadline_counts_while_there_is_no_instance(bench: Any) -> None:
    key = bench.running()
    bench.step(ev.Retire(key))
    leave(bench, key)
    request = bench.submit(key, timeout=2.0, deadline=bench.now + 2)
    bench.wait(2)
    assert isinstance(bench.error(request), RequestTimeout)
    assert bench.error(request).agent == f"a{key}"


def test_an_agent_without_instances_stays_when_a_new_one_does_not_start(bench: Any) -> None:
    key = bench.running()
    bench.step(ev.Retire(key))
    leave(bench, key)
    request = bench.submit(key)
    failing = bench.spawn(mailbox=key)
    bench.step(ev.StartFailed(failing, 1, StartError("no")))
    bench.die(failing)
    assert ends(bench) == {}
    assert request not in bench.outcomes
    bench.running(mailbox=key)
    assert bench.sent[-1][2] == request


def test_the_last_instance_that_fails_ends_the_agent_again_after_it_had_none(bench: Any) -> None:
    key = bench.running()
    bench.step(ev.Retire(key))
    leave(bench, key)
    fail(bench, bench.running(mailbox=key), STOP)
    assert ends(bench) == {key: AgentStatus.FAILED}


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (lambda key: ev.Stop(key, 1.0), AgentStatus.STOPPED),
        (ev.Drain, AgentStatus.COMPLETED),
        (ev.Cancel, AgentStatus.CANCELLED),
        (lambda key: ev.Close(True, 9.0), AgentStatus.STOPPED),
    ],
)
@pytest.mark.parametrize("gone", [True, False])
def test_an_agent_without_instances_ends_when_it_is_told_to(
    bench: Any, event: Any, status: AgentStatus, gone: bool
) -> None:
    key = bench.running()
    bench.step(ev.Retire(key))
    request = bench.submit(key)
    if gone:
        leave(bench, key)
    bench.step(event(key))
    assert isinstance(bench.error(request), AgentStopped | Aborted)
    if not gone:
        leave(bench, key)
    assert ends(bench) == {key: status}
    assert bench.machine._core.ledger.boxes == {}


def test_an_agent_without_instances_ends_after_its_children(bench: Any) -> None:
    root = bench.running()
    middle = bench.running(parent=root, link="stop")
    leaf = bench.running(parent=middle, link="stop")
    bench.step(ev.Retire(middle))
    leave(bench, middle)
    bench.step(ev.Stop(root, 5.0))
    assert bench.phase(root) is Phase.READY
    leave(bench, leaf)
    assert bench.phase(root) is Phase.STOPPING
    assert list(ends(bench)) == [leaf, middle]


def test_the_children_of_an_agent_without_instances_go_on(bench: Any) -> None:
    key = bench.running()
    child = bench.running(parent=key, link="stop")
    bench.step(ev.Retire(key))
    leave(bench, key)
    assert bench.phase(child) is Phase.READY
    assert bench.phase(bench.running(parent=key)) is Phase.READY


def test_one_that_is_ended_at_once_loses_its_request_and_not_those_that_wait(bench: Any) -> None:
    key = bench.running()
    runs, waits = bench.submit(key), bench.submit(key)
    bench.step(ev.Retire(key, now=True))
    assert isinstance(bench.error(runs), Aborted)
    assert waits not in bench.outcomes


# ---- more of them


def joining(bench: Any, agent: int) -> int:
    key = next(bench.keys)
    spawn = ev.Spawn(key, agent, "a", AgentSettings(), supervised=True, joins=True)
    bench.step(ev.SpawnTogether((spawn,)))
    return key


def test_an_agent_that_ends_takes_no_more_instances(bench: Any) -> None:
    key = bench.running()
    bench.submit(key)
    bench.step(ev.Drain(key))
    late = joining(bench, key)
    assert bench.status(late) is AgentStatus.STOPPED
    assert isinstance(bench.finished[late].error, AgentStopped)
    assert bench.machine.instances.get(late) is None


def test_an_agent_that_has_ended_is_not_begun_again(bench: Any) -> None:
    key = bench.running()
    bench.step(ev.Cancel(key))
    leave(bench, key)
    late = joining(bench, key)
    assert bench.status(late) is AgentStatus.STOPPED
    assert ends(bench) == {key: AgentStatus.CANCELLED}


def test_an_instance_joins_an_agent_whose_parent_has_ended(bench: Any) -> None:
    root = bench.running()
    key = bench.running(parent=root)
    bench.step(ev.Cancel(root))
    leave(bench, root)
    assert bench.phase(joining(bench, key)) is Phase.STARTING


def test_instances_that_start_together_end_their_agent_together(bench: Any) -> None:
    """The first one fails before the others are ready, and they serve on."""
    keys = [next(bench.keys) for _ in range(3)]
    spawns = [
        ev.Spawn(key, keys[0], "a", AgentSettings(), supervised=True, slot=slot, joins=slot > 0)
        for slot, key in enumerate(keys)
    ]
    bench.step(ev.SpawnTogether(tuple(spawns)))
    bench.step(ev.StartFailed(keys[0], 1, StartError("no")))
    bench.die(keys[0])
    assert ends(bench) == {}
    bench.ready(keys[1])
    request = bench.submit(keys[0])
    assert bench.sent == [(keys[1], 1, request)]


def test_instances_refused_together_end_their_agent_once(bench: Any) -> None:
    bench.step(ev.Close(True, 9.0))
    keys = [next(bench.keys) for _ in range(2)]
    spawns = [
        ev.Spawn(key, keys[0], "a", AgentSettings(), supervised=True, joins=key != keys[0])
        for key in keys
    ]
    bench.step(ev.SpawnTogether(tuple(spawns)))
    ended = [type(a) for a in bench.log if isinstance(a, actions.Ended | actions.AgentEnded)]
    assert ended == [actions.Ended, actions.Ended, actions.AgentEnded]
