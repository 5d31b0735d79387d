"""The rules on the pure machine, in virtual time. Test names are truths about supervision."""

from __future__ import annotations

from typing import Any

import pytest

from procorch.errors import (
    Aborted,
    AgentCrashed,
    AgentStopped,
    MemoryLimitExceeded,
    ModelThrottled,
    NetworkError,
    PluginError,
    ProtocolError,
    RequestCancelled,
    RequestTimeout,
    SerializationError,
    StartError,
    StreamError,
)
from procorch.supervision import actions, notices
from procorch.supervision import events as ev
from procorch.supervision.limits import Backoff, Shutdown
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.states import AgentStatus, Phase, StopStage
from procorch.supervision.throttle import Throttle

RESTART, STOP, ESCALATE = SupervisorAction


def kinds(taken: list[actions.Action]) -> list[type]:
    return [type(action) for action in taken if not isinstance(action, actions.Notify)]


# ---- requests (N3)


def test_a_request_waits_until_its_agent_is_ready(bench):
    key = bench.spawn()
    request = bench.submit(key)
    assert bench.sent == []
    bench.ready(key)
    assert bench.sent == [(key, 1, request)]


def test_an_agent_has_one_request_at_a_time_and_takes_them_in_order(bench):
    key = bench.running()
    requests = [bench.submit(key) for _ in range(3)]
    assert [r for _, _, r in bench.sent] == requests[:1]
    for request in requests:
        bench.reply(key, request)
    assert [r for _, _, r in bench.sent] == requests


def test_replicas_share_one_queue_and_the_free_one_takes_the_next(bench):
    first = bench.running()
    second = bench.running(mailbox=first)
    a, b, c = (bench.submit(first) for _ in range(3))
    assert bench.sent == [(first, 1, a), (second, 1, b)]
    bench.reply(second, b)
    assert bench.sent[-1] == (second, 1, c)


def test_a_request_whose_deadline_passes_in_the_queue_is_not_executed(bench):
    key = bench.running()
    running, late = bench.submit(key), bench.submit(key, deadline=5.0, timeout=5.0)
    bench.wait(5.0)
    assert isinstance(bench.error(late), RequestTimeout)
    assert bench.error(late).ran is False
    bench.reply(key, running)
    assert [r for _, _, r in bench.sent] == [running]


def test_a_deadline_under_way_ends_the_worker_and_not_the_agent(bench):
    key = bench.running()
    slow, waiting = bench.submit(key, deadline=1.0, timeout=1.0), bench.submit(key)
    bench.wait(1.0)
    assert isinstance(bench.error(slow), RequestTimeout)
    assert bench.error(slow).ran is True
    assert bench.pressed(key) == [StopStage.COOPERATE]
    bench.die(key, signal="SIGTERM", started=slow)
    assert bench.questions == [], "an exit that was asked for is no failure (N0)"
    bench.ready(key)
    assert bench.sent[-1] == (key, 2, waiting)


def test_a_timeout_without_deadline_counts_from_the_dispatch(bench):
    key = bench.running()
    first, second = bench.submit(key), bench.submit(key, timeout=2.0)
    bench.wait(10.0)
    bench.reply(key, first)
    assert second not in bench.outcomes
    bench.wait(2.0)
    assert isinstance(bench.error(second), RequestTimeout)


def test_a_replacement_after_a_deadline_is_not_counted(bench):
    key = bench.running(max_restarts=1)
    for _ in range(5):
        request = bench.submit(key, deadline=bench.now + 1, timeout=1.0)
        bench.wait(1.0)
        bench.die(key, signal="SIGTERM", started=request)
        bench.ready(key)
    assert bench.phase(key) is Phase.READY


def test_a_reply_that_comes_with_its_deadline_changes_nothing_any_more(bench):
    key = bench.running()
    request = bench.submit(key, deadline=1.0, timeout=1.0)
    bench.wait(1.0)
    bench.reply(key, request)
    assert len(bench.outcomes[request]) == 1
    assert bench.phase(key) is Phase.READY


def test_a_cancelled_request_leaves_the_queue_and_the_agent_alone(bench):
    key = bench.running()
    running, waiting = bench.submit(key), bench.submit(key)
    bench.step(ev.CancelRequest(waiting))
    assert isinstance(bench.error(waiting), RequestCancelled)
    assert bench.pressed(key) == []
    bench.step(ev.CancelRequest(running))
    assert bench.pressed(key) == [StopStage.COOPERATE]


def test_errors_of_a_message_are_not_put_to_the_policy(bench):
    key = bench.running()
    request = bench.submit(key)
    bench.reply(key, request, SerializationError(what="reply"))
    assert bench.questions == []
    assert bench.phase(key) is Phase.READY


def test_a_reply_of_an_older_generation_is_counted_and_dropped(bench):
    key = bench.running()
    first = bench.submit(key)
    bench.die(key, started=first)
    bench.policy_says(RESTART)
    bench.ready(key)
    second = bench.submit(key)
    bench.step(ev.Replied(key, 1, second))
    assert second not in bench.outcomes
    assert bench.machine.stale == 1


def test_a_request_to_an_ended_agent_is_answered(bench):
    key = bench.running()
    bench.step(ev.Cancel(key))
    bench.die(key)
    request = bench.submit(key)
    assert isinstance(bench.error(request), AgentStopped)
    assert "agent channel closed" in str(bench.error(request))


# ---- errors and the policy (N6, N13)


def test_restart_replies_first_and_then_replaces_the_agent(bench):
    key = bench.running()
    request = bench.submit(key)
    bench.fail(key, request)
    taken = kinds(bench.policy_says(RESTART))
    assert taken == [actions.Resolve, actions.StopProcess]
    assert bench.pressed(key) == [StopStage.LEAVE]
    bench.die(key, signal="SIGTERM")
    assert bench.generation(key) == 2


def test_the_queue_survives_a_restart(bench):
    key = bench.running()
    first, second = bench.submit(key), bench.submit(key)
    bench.die(key, started=first)
    bench.policy_says(RESTART)
    bench.ready(key)
    assert bench.sent == [(key, 1, first), (key, 2, second)]


@pytest.mark.parametrize("budget", [0, 1, 3])
def test_exactly_the_budget_of_restarts_passes(bench, budget):
    key = bench.running(max_restarts=budget)
    for _ in range(budget):
        bench.die(key)
        bench.policy_says(RESTART)
        bench.ready(key)
    bench.die(key)
    bench.policy_says(RESTART)
    assert bench.status(key) is AgentStatus.FAILED
    error = bench.finished[key].error
    assert isinstance(error, PluginError)
    assert f"agent 'a{key}' stopped by supervisor" in str(error)
    assert isinstance(error.__cause__, AgentCrashed)


def test_a_success_clears_the_consecutive_count(bench):
    key = bench.running(max_restarts=1)
    for _ in range(4):
        bench.die(key)
        bench.policy_says(RESTART)
        bench.ready(key)
        bench.reply(key, bench.submit(key))
    assert bench.phase(key) is Phase.READY


def test_stop_replies_the_error_and_ends_failed(bench):
    key = bench.running()
    first, second = bench.submit(key), bench.submit(key)
    bench.fail(key, first)
    bench.policy_says(STOP)
    assert isinstance(bench.error(first), NetworkError)
    assert isinstance(bench.error(second), AgentStopped)
    bench.die(key, signal="SIGTERM")
    assert bench.status(key) is AgentStatus.FAILED


def test_escalate_keeps_the_agent_and_its_count(bench):
    key = bench.running(max_restarts=1)
    bench.die(key)
    bench.policy_says(RESTART)
    bench.ready(key)
    for _ in range(3):
        bench.fail(key, bench.submit(key))
        bench.policy_says(ESCALATE)
    assert (bench.phase(key), bench.generation(key)) == (Phase.READY, 2)
    bench.die(key)
    bench.policy_says(RESTART)
    assert bench.status(key) is AgentStatus.FAILED, "the one restart was used before"


def test_no_policy_keeps_an_agent_that_fails_and_fails_one_that_dies(bench):
    key = bench.running(supervised=False)
    request = bench.submit(key)
    bench.fail(key, request)
    assert isinstance(bench.error(request), NetworkError)
    assert bench.phase(key) is Phase.READY
    bench.die(key)
    assert bench.status(key) is AgentStatus.FAILED
    assert isinstance(bench.finished[key].error, AgentCrashed)


def test_escalate_of_a_dead_process_replaces_it_under_the_budget(bench):
    key = bench.running(max_restarts=1)
    bench.die(key)
    bench.policy_says(ESCALATE)
    assert bench.generation(key) == 2
    bench.ready(key)
    bench.die(key)
    bench.policy_says(ESCALATE)
    assert bench.status(key) is AgentStatus.FAILED


def test_a_policy_that_fails_stops_that_agent_only(bench):
    key, other = bench.running(), bench.running()
    request = bench.submit(key)
    bench.fail(key, request)
    bench.policy_says(None, fault=ZeroDivisionError("in the policy"))
    assert isinstance(bench.error(request), NetworkError)
    assert "in the policy" in "".join(bench.error(request).__notes__)
    bench.die(key, signal="SIGTERM")
    assert bench.status(key) is AgentStatus.FAILED
    assert bench.phase(other) is Phase.READY


def test_no_request_goes_out_while_the_policy_thinks(bench):
    key = bench.running()
    first, second = bench.submit(key), bench.submit(key)
    bench.fail(key, first)
    assert [r for _, _, r in bench.sent] == [first]
    bench.policy_says(ESCALATE)
    assert [r for _, _, r in bench.sent] == [first, second]


def test_a_death_while_the_policy_thinks_is_one_trigger_and_one_count(bench):
    key = bench.running(max_restarts=1)
    bench.fail(key, bench.submit(key))
    bench.die(key)
    assert len(bench.questions) == 1
    bench.policy_says(RESTART)
    assert bench.generation(key) == 2


# ---- deaths (N0, N3, N11)


def test_a_death_in_mid_request_fails_it_before_anything_starts(bench):
    key = bench.running()
    request = bench.submit(key)
    bench.die(key, signal="SIGSEGV", started=request)
    taken = kinds(bench.policy_says(RESTART))
    assert taken.index(actions.Resolve) < taken.index(actions.Launch)
    error = bench.error(request)
    assert isinstance(error, AgentCrashed)
    assert (error.signal, error.request, error.may_have_executed) == ("SIGSEGV", request, True)


def test_a_request_the_worker_never_began_did_not_execute(bench):
    key = bench.running()
    request = bench.submit(key)
    bench.die(key, started=0)
    bench.policy_says(RESTART)
    assert bench.error(request).may_have_executed is False


def test_an_idle_death_is_put_to_the_policy_without_a_request(bench):
    key = bench.running()
    bench.die(key)
    assert isinstance(bench.questions[0].error, AgentCrashed)
    assert bench.questions[0].error.request is None


def test_a_death_is_charged_to_the_request_where_that_was_asked_for(bench):
    key = bench.running(max_restarts=0, charge_requests=True)
    for _ in range(10):
        request = bench.submit(key)
        bench.die(key, started=request)
        bench.policy_says(RESTART)
        bench.ready(key)
    bench.die(key)
    bench.policy_says(RESTART)
    assert bench.status(key) is AgentStatus.FAILED, "an idle death still counts"


def test_a_worker_above_its_memory_limit_is_killed_and_named(bench):
    key = bench.running(memory_limit=1000)
    request = bench.submit(key)
    bench.step(ev.MemoryExceeded(key, 1, 2000))
    assert bench.pressed(key) == [StopStage.KILL]
    bench.die(key, started=request)
    bench.policy_says(RESTART)
    error = bench.error(request)
    assert isinstance(error, MemoryLimitExceeded)
    assert (error.limit, error.observed) == (1000, 2000)


def test_a_broken_stream_ends_the_worker_and_says_why(bench):
    key = bench.running()
    request = bench.submit(key)
    bench.step(ev.StreamBroken(key, 1, ProtocolError("bad magic")))
    bench.die(key, started=request)
    bench.policy_says(RESTART)
    assert "bad magic" in str(bench.error(request))


# ---- starting (N9, N10)


def test_a_first_start_that_fails_ends_the_agent_with_its_error(bench):
    key = bench.spawn()
    bench.step(ev.StartFailed(key, 1, StartError("no", phase="factory")))
    bench.die(key)
    assert bench.status(key) is AgentStatus.FAILED
    assert isinstance(bench.finished[key].error, StartError)
    assert bench.questions == []


def test_a_death_at_the_first_start_is_a_start_error_that_names_the_signal(bench):
    key = bench.spawn()
    bench.die(key, signal="SIGSEGV")
    assert "SIGSEGV" in str(bench.finished[key].error)


def test_a_start_that_fails_at_a_restart_counts_and_is_tried_again(bench):
    key = bench.running(max_restarts=2)
    bench.die(key)
    bench.policy_says(RESTART)
    bench.die(key)
    assert isinstance(bench.questions[0].error, StartError)
    bench.policy_says(RESTART)
    assert bench.generation(key) == 3
    bench.die(key)
    bench.policy_says(RESTART)
    assert bench.status(key) is AgentStatus.FAILED


def test_a_permanent_start_error_is_not_tried_again(bench):
    key = bench.running(max_restarts=9)
    bench.die(key)
    bench.policy_says(RESTART)
    bench.step(ev.StartFailed(key, 2, StartError("never", permanent=True)))
    bench.die(key)
    bench.policy_says(RESTART)
    assert bench.status(key) is AgentStatus.FAILED


def test_a_start_has_a_deadline_of_its_own(bench):
    key = bench.spawn(start_timeout=3.0)
    bench.wait(3.0)
    assert bench.pressed(key) == [StopStage.TERMINATE]
    bench.die(key, signal="SIGTERM")
    assert "not ready within 3 s" in str(bench.finished[key].error)


def test_readiness_that_comes_after_the_start_was_given_up_is_too_late(bench):
    key = bench.spawn(start_timeout=3.0)
    bench.wait(3.0)
    bench.ready(key)
    assert bench.phase(key) is Phase.STARTING


def test_no_more_processes_start_at_once_than_allowed(bench_of):
    bench = bench_of(start_limit=2)
    keys = [bench.spawn() for _ in range(5)]
    assert sum(map(len, bench.live.values())) == 2
    bench.ready(keys[0])
    assert sum(map(len, bench.live.values())) == 3
    bench.die(keys[1])
    bench.ready(keys[2])
    assert [bench.phase(k) for k in keys[3:]] == [Phase.STARTING, Phase.STARTING]


def test_the_first_restart_is_immediate_and_the_next_ones_back_off(bench):
    key = bench.running(max_restarts=9, backoff=Backoff(initial=1.0, factor=2.0, cap=3.0))
    delays = []
    for _ in range(4):
        bench.die(key)
        bench.policy_says(RESTART)
        began = bench.now
        while bench.phase(key) is Phase.BACKOFF:
            bench.now = bench.machine.next_due()
            bench.step(ev.Tick())
        delays.append(bench.now - began)
        bench.ready(key)
    assert delays == [0.0, 1.0, 2.0, 3.0]


def test_a_throttled_agent_backs_off_for_what_its_service_asked(bench):
    key = bench.running()
    first, second = bench.submit(key), bench.submit(key)
    bench.reply(key, first, ModelThrottled("slow down", retry_after=20.0))
    bench.policy_says(RESTART)
    bench.die(key)
    assert bench.phase(key) is Phase.BACKOFF
    bench.wait(19.9)
    assert bench.phase(key) is Phase.BACKOFF
    bench.wait(0.2)
    bench.ready(key)
    assert bench.sent[-1] == (key, 2, second)


@pytest.mark.parametrize(
    ("settings", "most"), [({}, 300), ({"throttle": Throttle(retries=0, longest=60)}, 60)]
)
def test_a_service_cannot_keep_an_agent_from_a_restart_for_longer_than_the_cap(
    bench, settings, most
):
    key = bench.running(**settings)
    bench.reply(key, bench.submit(key), NetworkError("overloaded", retry_after=3600.0))
    bench.policy_says(RESTART)
    bench.die(key)
    assert bench.phase(key) is Phase.BACKOFF
    bench.wait(most + 0.1)
    assert bench.phase(key) is Phase.STARTING


@pytest.mark.parametrize("supervised", [True, False])
def test_an_agent_that_is_kept_waits_for_what_its_service_asked(bench, supervised):
    key = bench.running(supervised=supervised)
    first, second = bench.submit(key), bench.submit(key)
    bench.reply(key, first, ModelThrottled("slow down", retry_after=20.0))
    if supervised:
        bench.policy_says(ESCALATE)
    assert isinstance(bench.error(first), ModelThrottled)
    bench.wait(19.9)
    assert [r for _, _, r in bench.sent] == [first]
    bench.wait(0.2)
    assert [r for _, _, r in bench.sent] == [first, second]


def test_the_pause_of_an_agent_that_is_kept_has_a_cap(bench):
    key = bench.running()
    first, second = bench.submit(key), bench.submit(key)
    bench.reply(key, first, ModelThrottled("slow down", retry_after=3600.0))
    bench.policy_says(ESCALATE)
    bench.wait(300.1)
    assert [r for _, _, r in bench.sent] == [first, second]


def test_without_a_throttle_an_agent_that_is_kept_goes_on_at_once(bench):
    key = bench.running(throttle=None)
    first, second = bench.submit(key), bench.submit(key)
    bench.reply(key, first, ModelThrottled("slow down", retry_after=20.0))
    bench.policy_says(ESCALATE)
    assert [r for _, _, r in bench.sent] == [first, second]


@pytest.mark.parametrize("error", [StreamError, AgentCrashed, ModelThrottled])
def test_an_error_of_another_agent_is_not_put_to_the_policy(bench, error):
    """It has been judged where it arose; who had asked is as good as before."""
    key = bench.running()
    first, second = bench.submit(key), bench.submit(key)
    bench.reply(key, first, error(agent="researcher", retry_after=20.0))
    assert bench.questions == []
    assert bench.error(first).agent == "researcher"
    assert bench.phase(key) is Phase.READY
    assert [r for _, _, r in bench.sent] == [first, second], "and there is nothing to wait for"


def test_an_agent_can_be_cancelled_while_it_backs_off(bench):
    key = bench.running(backoff=Backoff(initial=60, cap=60))
    for _ in range(2):
        bench.die(key)
        bench.policy_says(RESTART)
        if bench.phase(key) is Phase.STARTING:
            bench.ready(key)
    assert bench.phase(key) is Phase.BACKOFF
    bench.step(ev.Cancel(key))
    assert bench.status(key) is AgentStatus.CANCELLED
    bench.wait(100)
    assert bench.live[key] == set()


# ---- ending (N7, N8, N14, N15)


def test_cancel_aborts_the_request_under_way_and_drops_the_queue(bench):
    key = bench.running()
    running, waiting = bench.submit(key), bench.submit(key)
    bench.step(ev.Cancel(key))
    assert type(bench.error(running)) is Aborted
    assert isinstance(bench.error(waiting), AgentStopped)
    assert "agent reply dropped" in str(bench.error(waiting))
    assert bench.pressed(key) == [StopStage.COOPERATE]
    bench.die(key, signal="SIGTERM")
    assert bench.status(key) is AgentStatus.CANCELLED


def test_a_reply_completed_before_the_cancel_stands(bench):
    key = bench.running()
    request = bench.submit(key)
    bench.fail(key, request)
    bench.step(ev.Cancel(key))
    assert isinstance(bench.error(request), NetworkError)
    bench.policy_says(RESTART)
    bench.die(key, signal="SIGTERM")
    assert bench.status(key) is AgentStatus.CANCELLED
    assert bench.live[key] == set()


def test_the_ladder_climbs_from_terminate_to_kill_to_unreaped(bench):
    key = bench.running(shutdown=Shutdown(grace=1, terminate=2, kill=3))
    bench.step(ev.Cancel(key))  # idle: there is no request to talk to
    bench.wait(2)
    bench.wait(3)
    assert bench.pressed(key) == [StopStage.TERMINATE, StopStage.KILL]
    told = [a.notice for a in bench.log if isinstance(a, actions.Notify)]
    assert any(isinstance(notice, notices.Unreaped) for notice in told)
    assert bench.status(key) is AgentStatus.CANCELLED
    bench.die(key)
    assert bench.machine.instances.get(key) is None


def test_drain_finishes_the_queue_and_completes(bench):
    key = bench.running()
    first, second = bench.submit(key), bench.submit(key)
    bench.step(ev.Drain(key))
    late = bench.submit(key)
    assert isinstance(bench.error(late), AgentStopped)
    bench.reply(key, first)
    bench.reply(key, second)
    assert bench.pressed(key) == [StopStage.LEAVE]
    bench.die(key, signal=None)
    assert bench.status(key) is AgentStatus.COMPLETED
    assert bench.finished[key].error is None


def test_an_agent_that_dies_while_draining_is_replaced_to_finish_its_queue(bench):
    key = bench.running()
    first, second = bench.submit(key), bench.submit(key)
    bench.step(ev.Drain(key))
    bench.die(key, started=first)
    bench.policy_says(RESTART)
    bench.ready(key)
    bench.reply(key, second)
    bench.die(key, signal=None)
    assert bench.status(key) is AgentStatus.COMPLETED


def test_stop_aborts_what_is_left_when_its_grace_is_over(bench):
    key = bench.running()
    running = bench.submit(key)
    bench.step(ev.Stop(key, 2.0))
    bench.wait(2.0)
    assert isinstance(bench.error(running), Aborted)
    bench.die(key, signal="SIGTERM")
    assert bench.status(key) is AgentStatus.STOPPED


def test_nothing_restarts_while_closing(bench):
    key = bench.running()
    request = bench.submit(key)
    bench.step(ev.Close(True, bench.now + 10))
    bench.die(key, started=request)
    assert isinstance(bench.error(request), AgentCrashed)
    assert bench.questions == []
    assert bench.machine.idle
    assert sum(isinstance(a, actions.Launch) for a in bench.log) == 1


def test_close_with_drain_finishes_what_was_accepted(bench):
    key = bench.running()
    first, second = bench.submit(key), bench.submit(key)
    bench.step(ev.Close(True, bench.now + 10))
    bench.reply(key, first)
    bench.reply(key, second)
    assert bench.error(first) is None
    assert bench.error(second) is None
    bench.die(key, signal=None)
    assert bench.status(key) is AgentStatus.STOPPED


def test_close_without_drain_aborts_everything(bench):
    key = bench.running()
    requests = [bench.submit(key), bench.submit(key)]
    bench.step(ev.Close(False, bench.now + 10))
    assert [type(bench.error(r)) for r in requests] == [Aborted, Aborted]


def test_at_the_deadline_of_a_close_everything_left_is_killed(bench):
    key = bench.running(shutdown=Shutdown(grace=100, terminate=100))
    bench.submit(key)
    bench.step(ev.Close(True, bench.now + 10))
    bench.wait(10)
    assert bench.pressed(key)[-1] is StopStage.KILL


def test_an_agent_spawned_while_closing_never_starts(bench):
    bench.step(ev.Close(True, bench.now + 10))
    key = bench.spawn()
    assert bench.status(key) is AgentStatus.STOPPED
    assert key not in bench.live


# ---- recycling: between requests, costing none


def test_a_process_is_replaced_after_its_last_request_and_the_next_goes_to_the_new_one(bench):
    key = bench.running(max_requests=2)
    requests = [bench.submit(key) for _ in range(3)]
    for request in requests[:2]:
        bench.reply(key, request)
    assert bench.pressed(key) == [StopStage.LEAVE]
    bench.die(key, signal=None)
    bench.ready(key)
    assert bench.sent == [(key, 1, requests[0]), (key, 1, requests[1]), (key, 2, requests[2])]
    assert bench.machine.instances[key].limits.total == 0


def test_an_idle_process_is_replaced_when_it_is_too_old(bench):
    key = bench.running(max_age=10.0)
    bench.wait(10.0)
    assert bench.pressed(key) == [StopStage.LEAVE]


def test_a_busy_process_that_is_too_old_finishes_its_request_first(bench):
    key = bench.running(max_age=10.0)
    request = bench.submit(key)
    bench.wait(10.0)
    assert bench.pressed(key) == []
    bench.reply(key, request)
    assert bench.pressed(key) == [StopStage.LEAVE]


def test_a_worn_process_of_a_draining_agent_finishes_the_queue_itself(bench):
    key = bench.running(max_requests=1)
    first, second = bench.submit(key), bench.submit(key)
    bench.step(ev.Drain(key))
    bench.reply(key, first)
    bench.reply(key, second)
    bench.die(key, signal=None)
    assert bench.status(key) is AgentStatus.COMPLETED
    assert bench.error(second) is None


def test_a_worn_process_that_fails_its_last_request_is_replaced_where_the_policy_keeps_it(bench):
    key = bench.running(max_requests=1)
    bench.fail(key, bench.submit(key))
    bench.policy_says(ESCALATE)
    assert bench.pressed(key) == [StopStage.LEAVE]


def test_one_that_was_cancelled_ahead_of_its_turn_is_interrupted_when_that_comes(bench):
    """It may have begun in the moment before the status page said so."""
    key = bench.running(prefetch=2)
    first, second = bench.submit(key), bench.submit(key)
    bench.step(ev.CancelRequest(second))
    assert bench.outcomes[second][0].sent == (second,)
    assert bench.pressed(key) == []
    bench.reply(key, first)
    assert bench.pressed(key) == [StopStage.COOPERATE]
    third = bench.submit(key)
    bench.reply(key, second, Aborted())
    assert bench.sent[-1] == (key, 1, third)


def test_what_is_ahead_of_an_agent_that_finishes_goes_back_to_the_queue(bench):
    key = bench.running(prefetch=2, restart="permanent")
    first, second = bench.submit(key), bench.submit(key)
    bench.step(ev.AgentFinished(key, 1))
    bench.reply(key, first)
    bench.live[key].discard(1)
    bench.step(ev.Exited(key, 1, ev.Exit(code=0, started=first)))
    bench.ready(key)
    assert bench.sent[-1] == (key, 2, second)


def test_an_agent_that_answers_between_its_crashes_is_back_at_once(bench):
    """N2: the exponent counts restarts since the last success; many in a minute wait a second."""
    key = bench.running(backoff=Backoff())
    for crash in range(12):
        bench.reply(key, bench.submit(key))
        bench.die(key)
        bench.policy_says(RESTART)
        if crash < 10:
            assert bench.phase(key) is Phase.STARTING
        else:
            assert bench.machine.instances[key].state == "BACKOFF"
            assert bench.log[-1].notice.delay == 1.0
            bench.wait(1.0)
        bench.ready(key)


def suspected(bench):
    """An agent that has made no progress, and is being made to write its stack."""
    key = bench.running(heartbeat_timeout=4.0)
    request = bench.submit(key)
    bench.step(ev.Probed(key, 1, 7))
    bench.wait(4.0)
    bench.step(ev.Probed(key, 1, 7))
    assert bench.pressed(key) == [StopStage.STACK]
    assert bench.machine.instances[key].state == "HUNG"
    return key, request


def told(bench, kind):
    return [a.notice for a in bench.log if isinstance(a, actions.Notify) and type(a.notice) is kind]


def test_a_worker_that_answers_before_it_is_killed_was_not_hung(bench):
    """One truth for the caller, the log and the counters."""
    key, request = suspected(bench)
    bench.reply(key, request)
    assert bench.error(request) is None
    assert bench.machine.instances[key].state == "READY"
    bench.wait(60.0)
    assert bench.pressed(key) == [StopStage.STACK]
    assert told(bench, notices.Hung) == told(bench, notices.Crashed) == []
    assert bench.machine.instances[key].limits.total == 0


def test_an_answer_that_came_with_the_kill_is_no_hang_either(bench):
    key, request = suspected(bench)
    bench.wait(0.5)
    assert bench.pressed(key) == [StopStage.STACK, StopStage.KILL]
    bench.reply(key, request)
    bench.die(key, started=request)
    assert bench.error(request) is None
    assert bench.questions == []
    assert told(bench, notices.Hung) == told(bench, notices.Crashed) == []
    assert bench.machine.instances[key].limits.total == 0
    assert bench.phase(key) is Phase.STARTING


def test_a_worker_that_is_killed_without_an_answer_was_hung(bench):
    key, request = suspected(bench)
    bench.wait(0.5)
    bench.die(key, started=request)
    bench.policy_says(RESTART)
    assert type(bench.error(request)).__name__ == "AgentHung"
    assert [notice.request for notice in told(bench, notices.Hung)] == [request]
    assert len(told(bench, notices.Crashed)) == 1


# ---- what is known of a death


def dies_of(bench, key, **facts):
    bench.live[key].discard(bench.generation(key))
    bench.step(ev.Exited(key, bench.generation(key), ev.Exit(**facts)))


def test_a_death_whose_launcher_knows_more_says_it(bench):
    key = bench.running()
    request = bench.submit(key)
    dies_of(bench, key, signal="SIGKILL", started=request, detail="its zygote was killed")
    bench.policy_says(RESTART)
    assert str(bench.error(request)) == f"agent 'a{key}' crashed: its zygote was killed"


def test_a_request_that_began_after_an_unreadable_reply_fails_with_the_one_before_it(bench):
    """The worker went on by itself: both have been begun, and neither reply can be read."""
    key = bench.running(prefetch=2)
    first, second = bench.submit(key), bench.submit(key)
    third = bench.submit(key)
    dies_of(bench, key, signal="SIGSEGV", started=second)
    bench.policy_says(RESTART)
    bench.ready(key)
    for request in (first, second):
        assert isinstance(bench.error(request), AgentCrashed)
        assert bench.error(request).may_have_executed
    assert bench.sent[-1] == (key, 2, third)


def test_of_two_that_a_death_took_each_is_tried_again_as_it_may(bench):
    key = bench.running(prefetch=2)
    first, second = bench.submit(key), bench.submit(key, retries=1)
    dies_of(bench, key, signal="SIGSEGV", started=second)
    bench.policy_says(RESTART)
    bench.ready(key)
    assert isinstance(bench.error(first), AgentCrashed)
    assert bench.sent[-1] == (key, 2, second)


@pytest.mark.parametrize("throttle", [None, Throttle()])
def test_a_request_whose_deadline_has_passed_when_it_comes_is_not_sent(bench, throttle):
    key = bench.running(throttle=throttle)
    bench.wait(5.0)
    request = bench.submit(key, deadline=5.0, timeout=5.0)
    assert isinstance(bench.error(request), RequestTimeout)
    assert bench.sent == []


def test_what_holds_back_a_queue_can_be_looked_at(bench):
    key = bench.running(rate="10/s")
    flow = bench.machine.flow(key)
    assert flow is not None
    assert flow.active
    assert bench.machine.flow(key + 1) is None


def test_a_restart_on_request_of_an_agent_that_drains_in_backoff_changes_nothing(bench):
    key = bench.running(backoff=Backoff(initial=10.0, jitter=False))
    request = bench.submit(key)
    bench.die(key, started=request)
    bench.policy_says(RESTART)
    bench.ready(key)
    bench.die(key)
    bench.policy_says(RESTART)
    assert bench.phase(key) is Phase.BACKOFF
    waiting = bench.submit(key)
    bench.step(ev.Drain(key))
    assert bench.step(ev.Restart(key)) == []
    bench.wait(60.0)
    bench.ready(key)
    bench.reply(key, waiting)
    assert bench.error(waiting) is None


def test_an_agent_that_was_told_to_finish_says_so_in_its_state(bench):
    key = bench.running()
    bench.submit(key)
    bench.step(ev.Drain(key))
    assert bench.machine.instances[key].state == "DRAINING"


def test_a_restart_on_request_of_an_agent_that_waits_for_its_end_changes_nothing(bench):
    parent = bench.running()
    child = bench.running(parent=parent, link="stop")
    bench.submit(child)
    bench.step(ev.Stop(parent, 10.0))
    bench.step(ev.Restart(parent))
    assert bench.pressed(parent) == []
    assert bench.generation(parent) == 1


def test_the_event_of_a_start_comes_before_spawn_returns(bench: Any) -> None:
    """A stream of events that is opened then does not begin with the start."""
    told = [type(a) for a in bench.ready(bench.spawn()) if not isinstance(a, actions.Notify)]
    assert told == [actions.Started]
    first, *_ = bench.ready(bench.spawn())
    assert isinstance(first, actions.Notify)
    assert isinstance(first.notice, notices.Ready)
