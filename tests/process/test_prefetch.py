"""Requests that a worker has at hand before it needs them, and what becomes of them (``prefetch``).

They have not begun: whatever happens to the worker, or to one of them, is no business of the
others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    Aborted,
    AgentCrashed,
    AgentFailure,
    AgentOrchestrator,
    Backoff,
    DefaultSupervisor,
    OrchestratedHandle,
    RequestCancelled,
    RequestTimeout,
    SupervisorAction,
)

Start = Callable[..., OrchestratedHandle]
AHEAD = 8


@pytest.fixture
def executed(tmp_path: Path) -> Callable[[], list[str]]:
    """What the agent of `logging` has begun, in order."""
    path = tmp_path / "executed"
    path.touch()
    return lambda: path.read_text().split()


@pytest.fixture
def logging(tmp_path: Path, gate: Any) -> tuple[Callable[[], Any], Any, Any]:
    """An agent that writes down what it begins; the gates say that it waits, and let it go on."""
    path, begun, go = str(tmp_path / "executed"), gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory():
        import os

        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        def handle(given):
            word = given if isinstance(given, str) else given[0].content[0].text
            os.write(fd, f"{word}\n".encode())
            if word.startswith("wait"):
                tell(word)
                wait()
            if word.endswith("die"):
                os._exit(3)
            if word.endswith("fail"):
                raise ValueError(word)
            return os.getpid(), word

        return handle

    return factory, begun, go


def test_all_are_answered_in_their_order(start: Start, logging: Any, executed: Any) -> None:
    handle = start(logging[0], prefetch=AHEAD, channel_buffer=1000)
    replies = [handle.deliver(f"{n}") for n in range(300)]
    assert [reply.result().output[1] for reply in replies] == [f"{n}" for n in range(300)]
    assert executed() == [f"{n}" for n in range(300)]


def test_callers_that_wait_and_others_mix(start: Start) -> None:
    def factory():
        def handle(messages):
            return messages[0].content[0].text

        return handle

    handle = start(factory, prefetch=AHEAD, channel_buffer=1000)
    wrong: list[Any] = []

    def work(who: int) -> None:
        for n in range(30):
            replies = [handle.submit(f"{who}.{n}.{m}") for m in range(3)]
            own = handle.send_message(f"{who}.{n}").text
            got = [reply.result().text for reply in replies]
            if [own, *got] != [f"{who}.{n}", *(f"{who}.{n}.{m}" for m in range(3))]:
                wrong.append((own, got))

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_death_costs_the_request_that_ran_and_no_other(
    start: Start, logging: Any, executed: Any
) -> None:
    factory, begun, go = logging
    handle = start(factory, prefetch=AHEAD, supervisor=DefaultSupervisor())
    first = handle.deliver("wait-die")
    others = [handle.deliver(f"{n}") for n in range(AHEAD + 3)]
    begun.line()
    pid = handle.pid
    go.open()
    error = first.exception()
    assert isinstance(error, AgentCrashed)
    assert error.may_have_executed
    answers = [reply.result() for reply in others]
    assert [answer.output[1] for answer in answers] == [f"{n}" for n in range(AHEAD + 3)]
    assert {answer.output[0] for answer in answers} == {handle.pid} != {pid}
    assert executed() == ["wait-die", *(f"{n}" for n in range(AHEAD + 3))]


def test_each_of_many_deaths_costs_one_request(start: Start, logging: Any, executed: Any) -> None:
    handle = start(
        logging[0],
        prefetch=AHEAD,
        channel_buffer=100,
        supervisor=DefaultSupervisor(),
        backoff=Backoff(initial=0),
        max_restarts=100,
    )
    words = [f"{n}.die" if n % 4 == 1 else f"{n}" for n in range(20)]
    replies = [handle.deliver(word) for word in words]
    for word, reply in zip(words, replies, strict=True):
        error = reply.exception()
        assert (type(error) is AgentCrashed) == word.endswith("die"), (word, error)
    assert executed() == words


@pytest.mark.parametrize("action", [SupervisorAction.RESTART, SupervisorAction.ESCALATE])
def test_nothing_is_begun_before_the_policy_has_decided_about_an_error(
    start: Start, logging: Any, executed: Any, action: SupervisorAction
) -> None:
    factory, begun, go = logging
    asked, decide = threading.Event(), threading.Event()

    def policy(name: str, error: Exception) -> SupervisorAction:
        asked.set()
        decide.wait(20)
        return action

    handle = start(factory, prefetch=AHEAD, supervisor=policy)
    pid = handle.pid
    first = handle.deliver("wait-fail")
    others = [handle.deliver(f"{n}") for n in range(3)]
    begun.line()
    go.open()
    assert asked.wait(20)
    assert executed() == ["wait-fail"]
    decide.set()
    assert isinstance(first.exception(), AgentFailure)
    answers = [reply.result().output for reply in others]
    assert [word for _, word in answers] == ["0", "1", "2"]
    assert {at == pid for at, _ in answers} == {action is SupervisorAction.ESCALATE}
    assert executed() == ["wait-fail", "0", "1", "2"]


def test_one_that_is_cancelled_in_time_never_begins(
    start: Start, logging: Any, executed: Any
) -> None:
    factory, begun, go = logging
    handle = start(factory, prefetch=AHEAD)
    pid = handle.pid
    replies = [handle.deliver(word) for word in ("wait", "a", "b", "c")]
    begun.line()
    assert replies[2].cancel()
    with pytest.raises(RequestCancelled):
        replies[2].result()
    with pytest.raises(RequestTimeout):  # It comes after the cancel, which is known by then.
        handle.submit("d", timeout=0.01).result()
    assert not replies[0].done()
    go.open()
    assert replies[1].result().output == (pid, "a")
    assert replies[3].result().output == (pid, "c")
    assert executed() == ["wait", "a", "c"]


def test_the_deadline_of_one_that_has_not_begun_ends_that_one(
    start: Start, logging: Any, executed: Any
) -> None:
    factory, begun, go = logging
    handle = start(factory, prefetch=AHEAD)
    first = handle.deliver("wait")
    begun.line()
    late = handle.submit("late", timeout=0.05)
    after = handle.deliver("after")
    with pytest.raises(RequestTimeout) as caught:
        late.result()
    assert not caught.value.ran
    go.open()
    assert first.result().output[1] == "wait"
    assert after.result().output[1] == "after"
    assert executed() == ["wait", "after"]


def test_the_one_that_runs_is_cancelled_and_the_others_go_on(start: Start, gate: Any) -> None:
    begun = gate()
    tell = begun.tell

    def factory():
        import os
        import time

        def handle(word):
            if word == "hang":
                tell()
                time.sleep(1000)
            return os.getpid(), word

        return handle

    handle = start(factory, prefetch=AHEAD)
    pid = handle.pid
    hang = handle.deliver("hang")
    others = [handle.deliver(f"{n}") for n in range(3)]
    begun.line()
    assert hang.cancel()
    assert [reply.result().output for reply in others] == [(pid, f"{n}") for n in range(3)]


def test_a_close_finishes_them_or_aborts_them(
    orchestrator: Callable[..., AgentOrchestrator], logging: Any, executed: Any
) -> None:
    factory, begun, go = logging
    for drain in (True, False):
        orch = orchestrator()
        orch.add_agent("a", factory, prefetch=AHEAD)
        handle = orch.spawn("a")
        replies = [handle.deliver(word) for word in ("wait", "a", "b")]
        begun.line()
        if drain:
            go.open()
        orch.close(drain=drain)
        if drain:
            assert [reply.result().output[1] for reply in replies] == ["wait", "a", "b"]
        else:
            assert {type(reply.exception()) for reply in replies} == {Aborted}
    assert executed() == ["wait", "a", "b", "wait"]


def test_a_restart_on_request_loses_none(start: Start, logging: Any, executed: Any) -> None:
    factory, begun, go = logging
    handle = start(factory, prefetch=AHEAD, channel_buffer=100)
    replies = [handle.deliver(word) for word in ("wait", *map(str, range(20)))]
    begun.line()
    go.open()
    handle.restart()
    assert [reply.result().output[1] for reply in replies] == ["wait", *map(str, range(20))]
    assert executed() == ["wait", *map(str, range(20))]
    assert handle.generation == 2


def test_a_process_serves_no_more_requests_than_it_may(start: Start, logging: Any) -> None:
    handle = start(logging[0], prefetch=AHEAD, channel_buffer=100, max_requests=3)
    pids = [reply.result().output[0] for reply in [handle.deliver(f"{n}") for n in range(12)]]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3, 3]


def test_what_is_told_of_one_begins_when_it_begins(
    orchestrator: Callable[..., AgentOrchestrator], logging: Any
) -> None:
    factory, begun, go = logging
    orch = orchestrator()
    orch.add_agent("a", factory, prefetch=AHEAD)
    handle = orch.spawn("a")
    first, second = handle.deliver("wait"), handle.deliver("wait too")
    began = time.monotonic()
    begun.line()
    assert first.running()
    assert not second.running()
    waited = time.monotonic() - began
    go.open()
    first.result()
    assert second.running()
    begun.line()
    go.open()
    assert second.result().metrics.queued >= waited
