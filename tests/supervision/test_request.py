"""One record a request: what the machine may see of it, and what it may not."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import procorch.supervision
from procorch.errors import RequestTimeout
from procorch.supervision import actions
from procorch.supervision import events as ev
from procorch.supervision.ledger import Ledger
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.request import Request, RequestState


class Sealed:
    """Cannot be looked into."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"somebody looked at {name} of a cargo")


def test_no_module_of_supervision_names_the_cargo() -> None:
    for path in Path(procorch.supervision.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Attribute) and node.attr == "cargo"), path.name


def test_a_request_is_one_object_from_its_submission_to_its_outcome(bench: Any) -> None:
    key = bench.running()
    request = Request(7, key, retries=1, cargo=Sealed())
    assert request.state is RequestState.NEW
    (sent,) = bench.step(ev.Submit(request))
    assert sent.request is request
    assert request.state is RequestState.SENT
    bench.die(key, started=7)
    assert request.state is RequestState.QUEUED
    bench.policy_says(SupervisorAction.RESTART)
    bench.ready(key)
    assert request.state is RequestState.SENT
    done = bench.reply(key, 7)
    assert [a.request for a in done if isinstance(a, actions.Resolve)] == [request]
    assert request.state is RequestState.RESOLVED


def test_a_request_that_is_refused_is_resolved(bench: Any) -> None:
    request = Request(7, 1, cargo=Sealed())
    (refused,) = bench.step(ev.Submit(request))
    assert refused.request is request
    assert request.state is RequestState.RESOLVED


def test_the_number_of_those_that_wait_counts_open_requests(bench: Any) -> None:
    key = bench.running()
    numbers = [bench.submit(key) for _ in range(4)]
    assert bench.machine.waiting(key) == 3
    bench.step(ev.CancelRequest(numbers[2]))
    assert bench.machine.waiting(key) == 2
    bench.reply(key, numbers[0])
    assert bench.machine.waiting(key) == 1
    assert bench.machine.waiting(99) == 0


def test_a_request_to_an_idle_agent_enters_no_queue(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the settings of a new agent; it is the short way, on which most requests go."""

    def refuse(*_: object) -> bool:
        raise AssertionError("it was queued")

    monkeypatch.setattr(Ledger, "accept", refuse)
    key = bench.running()
    for _ in range(3):
        request = bench.submit(key)
        assert bench.sent[-1] == (key, 1, request)
        bench.reply(key, request)


def test_a_request_whose_deadline_has_passed_is_not_sent_to_an_idle_agent(bench: Any) -> None:
    key = bench.running()
    bench.now = 100.0
    request = bench.submit(key, timeout=1.0, deadline=99.0)
    assert not bench.sent
    assert isinstance(bench.error(request), RequestTimeout)


def test_what_a_process_has_answered_is_counted(bench: Any) -> None:
    key = bench.running(supervised=False)
    for _ in range(3):
        bench.reply(key, bench.submit(key))
    bench.fail(key, bench.submit(key))
    assert bench.machine.instances[key].process.served == 4


def test_a_second_death_before_it_began_does_not_make_the_first_undone(bench: Any) -> None:
    key = bench.running()
    request = bench.submit(key, retries=1)
    bench.die(key, started=request)
    bench.policy_says(SupervisorAction.RESTART)
    bench.ready(key)
    bench.die(key, started=0)
    bench.policy_says(SupervisorAction.RESTART)
    assert bench.error(request).may_have_executed


def test_a_success_is_counted_on_its_short_path(bench: Any) -> None:
    key = bench.running()
    request = Request(7, key)
    assert bench.machine.give(request, 0.0).key == key
    assert request.state is RequestState.SENT
    assert bench.machine.succeed(key, 1, 7, 0.0, 0.0) == []
    assert request.state is RequestState.RESOLVED
    assert bench.machine.instances[key].process.served == 1


def test_a_success_is_taken_once_and_only_from_the_process_that_has_the_request(
    bench: Any,
) -> None:
    key = bench.running()
    machine = bench.machine
    machine.give(Request(7, key), 0.0)
    assert machine.succeed(key, 1, 6, 0.0, 0.0) is None, "of an earlier request"
    assert machine.succeed(key, 2, 7, 0.0, 0.0) is None, "of another generation"
    assert machine.succeed(key + 1, 1, 7, 0.0, 0.0) is None, "of an instance that has ended"
    assert machine.succeed(key, 1, 7, 0.0, 0.0) == []
    assert machine.succeed(key, 1, 7, 0.0, 0.0) is None, "twice"
    machine.give(Request(8, key), 0.0)
    bench.die(key, started=8)
    assert machine.succeed(key, 1, 8, 0.0, 0.0) is None, "after the exit"


def test_what_was_sent_ahead_begins_and_what_waits_follows_on_the_short_path(bench: Any) -> None:
    key = bench.running(prefetch=2)
    first, second, third = (bench.submit(key) for _ in range(3))
    begun, sent = bench.machine.succeed(key, 1, first, 0.0, 0.0)
    assert isinstance(begun, actions.BeginAhead)
    assert begun.request.id == second
    assert isinstance(sent, actions.Send)
    assert (sent.request.id, sent.ahead) == (third, True)


def test_what_was_sent_ahead_and_is_cancelled_by_now_takes_the_long_path(bench: Any) -> None:
    key = bench.running(prefetch=2)
    first, second = (bench.submit(key) for _ in range(2))
    bench.step(ev.CancelRequest(second))
    assert bench.machine.succeed(key, 1, first, 0.0, 0.0) is None
    assert any(isinstance(a, actions.StopProcess) for a in bench.reply(key, first))
