"""Whether a request may have executed: right on every outcome, and in its text (N3)."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
import time
from concurrent.futures import CancelledError
from types import SimpleNamespace
from typing import Any

import pytest

from procorch import (
    Aborted,
    AgentError,
    AgentFailure,
    AgentPool,
    AgentStopped,
    Backoff,
    DefaultSupervisor,
    PoisonRequest,
    RequestCancelled,
    RequestTimeout,
    SerializationError,
)
from procorch.runtime.open_requests import OpenRequests
from procorch.supervision import notices
from procorch.supervision.request import Request
from tests.process.scenes import until


def talker(tell: Any, wait: Any) -> Any:
    """An agent that tells each request it has begun, and then does what it says."""

    def factory() -> Any:
        def respond(asked: tuple[str]) -> str:
            import os
            import signal

            what = asked if isinstance(asked, str) else asked[0]
            tell(what)
            if "die" in what:
                os.kill(os.getpid(), signal.SIGKILL)
            if "raise" in what:
                raise ValueError(what)
            if "wait" in what:
                wait()
            return what

        return respond

    return factory


@pytest.fixture
def agent(orchestrator: Any, gate: Any) -> Any:
    """Starts a talker; the gate's lines are the requests it has begun."""
    begun, go = gate(), gate()

    def start(**settings: Any) -> Any:
        orch = orchestrator(supervisor=settings.pop("supervisor", None))
        orch.add_agent("a", talker(begun.tell, go.wait), **settings)
        return orch, orch.spawn("a"), begun, go

    return start


def failed(reply: Any) -> AgentError:
    with pytest.raises(AgentError) as caught:
        reply.result(30)
    return caught.value


def test_one_that_killed_its_worker_before_the_agent_ended_has_executed(agent: Any) -> None:
    orch, handle, begun, _ = agent(
        supervisor=DefaultSupervisor(), backoff=Backoff(initial=30, jitter=False), max_restarts=9
    )
    stream = orch.monitor("a")
    killer = handle.submit(("die",), retries=5)
    assert begun.line() == begun.line() == "die"  # the second restart waits
    until(stream, notices.BackingOff, "a")
    never = handle.submit(("never",))
    handle.cancel()
    error, other = failed(killer), failed(never)
    assert isinstance(error, AgentStopped)
    assert error.may_have_executed
    assert "before the request ran" not in str(error)
    assert isinstance(other, AgentStopped)
    assert not other.may_have_executed
    assert "before the request ran" in str(other)


def test_one_that_died_once_is_not_forgotten_by_whatever_ends_it_in_the_queue(agent: Any) -> None:
    orch, handle, begun, _ = agent(
        supervisor=DefaultSupervisor(), backoff=Backoff(initial=30, jitter=False), max_restarts=9
    )
    stream = orch.monitor("a")
    reply = handle.submit(("die",), retries=5, timeout=3600)
    assert begun.line() == begun.line() == "die"
    until(stream, notices.BackingOff, "a")
    reply.cancel()
    with pytest.raises(CancelledError) as caught:
        reply.result(30)
    assert caught.value.may_have_executed  # type: ignore[attr-defined]


def test_cancelled_where_it_waits_and_where_it_runs(agent: Any) -> None:
    _, handle, begun, _ = agent()
    running = handle.submit(("wait",))
    assert begun.line() == "wait"
    waiting = handle.submit(("never",))
    for reply, executed in ((waiting, False), (running, True)):
        assert reply.cancel()
        error = failed(reply)
        assert isinstance(error, RequestCancelled)
        assert error.may_have_executed is executed
        assert ("was not executed" in str(error)) is not executed
    assert handle.submit(("next",)).result(30).text == "next"
    assert begun.told() == ["next"]


def test_late_where_it_waits_and_where_it_runs(agent: Any) -> None:
    _, handle, begun, _ = agent()
    running = handle.submit(("wait",), timeout=0.5)
    assert begun.line() == "wait"
    waiting = handle.submit(("never",), timeout=0.05)
    for reply, executed in ((waiting, False), (running, True)):
        error = failed(reply)
        assert isinstance(error, RequestTimeout)
        assert (error.may_have_executed, error.ran) == (executed, executed)
        assert ("was not executed" in str(error)) is not executed


def test_late_at_a_worker_that_has_not_read_it(agent: Any) -> None:
    """It was sent, and the worker sleeps: nothing was begun, and nothing will be."""
    _, handle, begun, _ = agent()
    handle.submit(("first",)).result(30)
    begun.line()
    os.kill(handle.pid, signal.SIGSTOP)
    error = failed(handle.submit(("unread",), timeout=0.05))
    assert isinstance(error, RequestTimeout)
    assert not error.may_have_executed
    assert handle.submit(("next",)).result(30).text == "next"
    assert begun.told() == ["next"]


@pytest.mark.parametrize("timeout", [None, 0.05])
def test_ahead_of_its_turn_nothing_was_begun(agent: Any, timeout: float | None) -> None:
    _, handle, begun, go = agent(prefetch=4)
    first = handle.deliver("wait")
    assert begun.line() == "wait"
    ahead = handle.submit(("ahead",), timeout=timeout)
    if timeout is None:
        assert ahead.cancel()
    assert not failed(ahead).may_have_executed
    go.open()
    assert first.result(30).text == "wait"
    assert begun.told() == []


def test_ahead_and_begun_before_the_reply_to_the_one_before_it_was_read(agent: Any) -> None:
    """The worker has gone on, and this process has not yet looked at what it wrote."""
    orch, handle, begun, go = agent(prefetch=4)
    first = handle.deliver("wait")
    assert begun.line() == "wait"
    second = handle.submit(("wait-too",))
    while len(handle._agent.mailbox):  # until it has been sent
        time.sleep(0.001)
    with orch._monitor._loop.ownership:  # nobody reads meanwhile
        go.open()
        assert begun.line() == "wait-too"
        assert second.cancel()
    assert failed(second).may_have_executed
    assert first.result(30).text == "wait"
    go.open()


@pytest.mark.queue
@pytest.mark.parametrize("how", ["close", "cancel"])
def test_aborted_where_it_waits_and_where_it_runs(agent: Any, how: str) -> None:
    orch, handle, begun, _ = agent()
    running = handle.submit(("wait",))
    assert begun.line() == "wait"
    waiting = handle.submit(("never",))
    if how == "close":
        orch.close(drain=False)
    else:
        handle.cancel()
    error, other = failed(running), failed(waiting)
    assert isinstance(error, Aborted)
    assert isinstance(other, Aborted if how == "close" else AgentStopped)
    assert (error.may_have_executed, other.may_have_executed) == (True, False)


def test_what_an_agent_raised_has_executed(agent: Any) -> None:
    _, handle, _, _ = agent()
    error = failed(handle.submit(("raise",)))
    assert isinstance(error, AgentFailure)
    assert error.may_have_executed


class Strange:
    """Is pickled here and does not load in the worker, or the other way round."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __reduce__(self) -> Any:
        return _load, (self.where, os.getpid())


def _load(where: str, pid: int) -> Strange:
    if (os.getpid() == pid) is (where == "here"):
        return Strange(where)
    raise RuntimeError(f"loads only {where}")


def test_a_request_that_does_not_load_has_not_executed_and_a_reply_that_does_not_has(
    orchestrator: Any,
) -> None:
    orch = orchestrator()
    orch.add_agent("a", lambda: lambda x: Strange("here") if x == "reply" else x)
    handle = orch.spawn("a")
    unread, unreadable = failed(handle.deliver(Strange("here"))), failed(handle.deliver("reply"))
    assert isinstance(unread, SerializationError)
    assert isinstance(unreadable, SerializationError)
    assert (unread.may_have_executed, unreadable.may_have_executed) == (False, True)
    with pytest.raises(SerializationError) as caught:
        handle.submit(threading.Lock())
    assert not caught.value.may_have_executed


class Prompt:
    """A worker that begins its request in the last moment before it hears that it need not."""

    started = item = 0

    def revoke(self, request: int) -> None:
        self.started = request


def test_the_worker_is_told_not_to_begin_before_it_is_looked_at() -> None:
    cargo = SimpleNamespace(process=Prompt(), items=None)
    error, request = Aborted(), Request(7, 1, cargo=cargo)
    OpenRequests._look_whether_begun(request, (7,), error)
    assert error.may_have_executed


def test_poison_has_executed(agent: Any) -> None:
    _, handle, _, _ = agent(
        supervisor=DefaultSupervisor(), backoff=Backoff(initial=0), allowed_failures=1
    )
    error = failed(handle.submit(("die",), retries=5))
    assert isinstance(error, PoisonRequest)
    assert error.may_have_executed


@pytest.mark.parametrize("kind", [Aborted, RequestCancelled, RequestTimeout, AgentStopped])
def test_the_account_survives_copies(kind: type[AgentError]) -> None:
    for executed in (True, False):
        error = kind(agent="a", may_have_executed=executed)
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert twin.may_have_executed is executed


def test_items_of_a_chunk_have_an_account_each(gate: Any) -> None:
    begun, go = gate(), gate()

    def factory() -> Any:
        def respond(item: int) -> int:
            if item == 2:
                begun.tell(item)
                go.wait()
            return item

        return respond

    with AgentPool(factory, workers=1) as pool:
        results = pool.imap(range(6), chunksize=6, outcomes=True)
        results.start()
        assert begun.line() == "2"
        pool.close(drain=False)
        outcomes = list(results)
    executed = [outcome.ok or outcome.error.may_have_executed for outcome in outcomes]
    assert executed == [True, True, True, False, False, False]
    assert {type(outcome.error) for outcome in outcomes[2:]} == {Aborted}
