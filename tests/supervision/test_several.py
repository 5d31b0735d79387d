"""Several requests at once in one process: the rules of one of them, and of all."""

from __future__ import annotations

from typing import Any

from procorch.errors import AgentCrashed, AgentHung, PoisonRequest
from procorch.supervision import actions
from procorch.supervision import events as ev
from procorch.supervision.limits import Shutdown
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.states import AgentStatus, Phase, StopStage

RESTART, ESCALATE, STOP = (
    SupervisorAction.RESTART,
    SupervisorAction.ESCALATE,
    SupervisorAction.STOP,
)
TIMES = Shutdown(cooperate=1.0, interrupt=2.0, grace=50.0, terminate=1.0)


def busy(bench: Any, count: int = 3, **settings: Any) -> tuple[int, list[int]]:
    """A process that runs so many requests."""
    key = bench.running(concurrency=max(2, count), shutdown=TIMES, **settings)
    return key, [bench.submit(key) for _ in range(count)]


def stops(taken: list[actions.Action]) -> list[StopStage]:
    return [action.stage for action in taken if isinstance(action, actions.StopProcess)]


def cancelled(taken: list[actions.Action]) -> list[int]:
    return [action.request for action in taken if isinstance(action, actions.CancelTask)]


def errors(bench: Any, requests: list[int]) -> list[Any]:
    return [bench.outcomes[request][0].error for request in requests]


def test_as_many_are_sent_as_it_may_run_and_none_ahead(bench: Any) -> None:
    key, requests = busy(bench, 2)
    waiting = bench.submit(key)
    assert [request for _, _, request in bench.sent] == requests
    assert not any(action.ahead for action in bench.log if isinstance(action, actions.Send))
    bench.reply(key, requests[1])
    assert bench.sent[-1][2] == waiting


def test_the_member_with_the_fewest_gets_the_next_one(bench: Any) -> None:
    first, requests = busy(bench, 1)
    second = bench.spawn(mailbox=first, concurrency=2, shutdown=TIMES)
    bench.ready(second)
    for _ in range(3):
        bench.submit(first)
    assert [key for key, _, _ in bench.sent] == [first, second, first, second]
    assert requests


def test_one_with_room_takes_what_waits_when_it_is_the_last_that_serves(bench: Any) -> None:
    first, (request,) = busy(bench, 1, retries=0)
    second = bench.spawn(mailbox=first, concurrency=2, shutdown=TIMES)
    bench.step(ev.Retire(first))
    waiting = bench.submit(first)
    assert bench.sent == [(first, 1, request)]
    bench.die(second)  # before it was ready
    assert bench.sent[-1] == (first, 1, waiting)


def test_a_cancelled_request_ends_alone(bench: Any) -> None:
    key, (first, second, third) = busy(bench)
    taken = bench.step(ev.CancelRequest(second))
    assert cancelled(taken) == [second]
    assert stops(taken) == []
    assert bench.outcomes[second][0].sent == (second,)
    bench.reply(key, second)
    assert bench.wait(10.0) == []
    for request in (first, third):
        bench.reply(key, request)
    assert errors(bench, [first, third]) == [None, None]


def test_a_task_that_does_not_end_ends_the_process_which_is_no_failure(bench: Any) -> None:
    key, (first, second, third) = busy(bench)
    bench.step(ev.CancelRequest(second))
    bench.wait(2.0)
    bench.step(ev.CancelRequest(third))
    assert stops(bench.wait(0.99)) == []
    assert stops(bench.wait(0.02)) == [StopStage.TERMINATE]
    bench.die(key, signal="SIGTERM")
    (error,) = errors(bench, [first])
    assert isinstance(error, AgentCrashed)
    assert error.request == first
    assert f"request {second} did not end" in str(error)
    assert bench.questions == []
    assert bench.machine.instances[key].limits.total == 0
    assert bench.generation(key) == 2


def test_the_policy_is_asked_about_one_error_after_the_other(bench: Any) -> None:
    key, (first, second, third) = busy(bench)
    bench.fail(key, first)
    bench.fail(key, second)
    bench.reply(key, third)
    assert list(bench.outcomes) == [third]
    assert len(bench.questions) == 1
    waiting = bench.submit(key)
    bench.policy_says(ESCALATE)
    assert first in bench.outcomes
    assert len(bench.questions) == 1
    assert waiting not in [request for _, _, request in bench.sent]
    bench.policy_says(ESCALATE)
    assert second in bench.outcomes
    assert bench.sent[-1][2] == waiting


def test_a_process_is_replaced_when_its_other_requests_have_ended(bench: Any) -> None:
    key, (first, second, third) = busy(bench, max_restarts=1)
    bench.fail(key, first)
    assert stops(bench.policy_says(RESTART)) == []
    bench.fail(key, second)
    assert stops(bench.policy_says(RESTART)) == []
    waiting = bench.submit(key)
    assert stops(bench.reply(key, third)) == [StopStage.LEAVE]
    assert errors(bench, [third]) == [None]
    bench.die(key, signal="SIGTERM")
    bench.ready(key)
    assert bench.sent[-1] == (key, 2, waiting)
    assert bench.machine.instances[key].limits.total == 1


def test_errors_that_wait_are_given_when_the_agent_stops(bench: Any) -> None:
    key, requests = busy(bench)
    for request in requests:
        bench.fail(key, request)
    bench.policy_says(STOP)
    assert all(str(error) == "lost" for error in errors(bench, requests))
    assert len({id(error) for error in errors(bench, requests)}) == 3


def test_a_death_while_the_policy_is_asked_fails_the_others_too(bench: Any) -> None:
    key, (first, second, third) = busy(bench)
    bench.fail(key, first)
    bench.die(key)
    assert [type(error) for error in errors(bench, [second, third])] == [AgentCrashed] * 2
    bench.policy_says(RESTART)
    assert bench.generation(key) == 2
    assert first in bench.outcomes


def test_a_death_is_charged_to_the_request_whose_code_ran(bench: Any) -> None:
    key = bench.running(concurrency=3, max_restarts=9, shutdown=TIMES)
    given = {"retries": 9, "allowed_failures": 1}
    first, second, third = (bench.submit(key, **given) for _ in range(3))
    for _ in range(2):
        bench.die(key, started=second)
        bench.policy_says(RESTART)
        bench.ready(key)
        assert bench.machine.instances[key].phase is Phase.READY
    assert isinstance(errors(bench, [second])[0], PoisonRequest)
    assert [request for _, _, request in bench.sent[-2:]] == [first, third]
    for request in (first, third):
        bench.reply(key, request)
    assert errors(bench, [first, third]) == [None, None]


def test_without_retries_those_beside_it_fail_at_once(bench: Any) -> None:
    key, requests = busy(bench)
    bench.live[key].discard(1)
    bench.step(ev.Exited(key, 1, ev.Exit(code=1, started=requests[1], begun=tuple(requests[:2]))))
    bench.policy_says(RESTART)
    failed = errors(bench, requests)
    assert [error.request for error in failed] == requests
    assert [error.may_have_executed for error in failed] == [True, True, False]


def test_a_hang_is_that_of_the_request_whose_code_ran(bench: Any) -> None:
    key, requests = busy(bench, heartbeat_timeout=4.0)
    for _ in range(6):
        bench.wait(1.0)
        bench.step(ev.Probed(key, 1, 7))
    bench.die(key, started=requests[2])
    bench.policy_says(RESTART)
    assert isinstance(errors(bench, requests)[2], AgentHung)
    told = [a.notice for a in bench.log if isinstance(a, actions.Notify)]
    assert [notice.request for notice in told if type(notice).__name__ == "Hung"] == [requests[2]]


def test_the_heartbeat_goes_on_while_any_request_runs(bench: Any) -> None:
    key, (first, second, _) = busy(bench, heartbeat_timeout=4.0)
    bench.reply(key, first)
    bench.fail(key, second)
    taken = bench.wait(1.0)
    assert any(isinstance(action, actions.Probe) for action in taken)
    bench.policy_says(ESCALATE)
    assert any(isinstance(action, actions.Probe) for action in bench.wait(1.0))


def test_the_end_of_an_agent_gives_its_tasks_little_time(bench: Any) -> None:
    key, requests = busy(bench)
    taken = bench.step(ev.Cancel(key))
    assert cancelled(taken) == requests
    assert stops(taken) == [StopStage.LEAVE]
    assert stops(bench.wait(3.1)) == [StopStage.TERMINATE]
    bench.die(key, signal="SIGTERM")
    assert bench.finished[key].status is AgentStatus.CANCELLED


def test_an_agent_that_has_finished_leaves_when_all_have_ended(bench: Any) -> None:
    key, (first, second, third) = busy(bench)
    bench.step(ev.AgentFinished(key, 1))
    assert stops(bench.reply(key, first)) == []
    assert stops(bench.reply(key, second)) == []
    assert stops(bench.reply(key, third)) == [StopStage.LEAVE]


def test_recycling_waits_for_all(bench: Any) -> None:
    key, requests = busy(bench, max_requests=3)
    waiting = bench.submit(key)
    for request in requests[:2]:
        assert stops(bench.reply(key, request)) == []
    assert stops(bench.reply(key, requests[2])) == [StopStage.LEAVE]
    bench.die(key, signal="SIGTERM")
    bench.ready(key)
    assert bench.sent[-1] == (key, 2, waiting)


def test_a_width_counts_members_and_not_requests(bench: Any) -> None:
    first, _ = busy(bench, 1)
    second = bench.spawn(mailbox=first, concurrency=3, shutdown=TIMES)
    bench.ready(second)
    bench.step(ev.SetWidth(first, 1))
    bench.submit(first)
    assert [key for key, _, _ in bench.sent] == [first, first]
