"""What becomes of requests when workers die, on real processes (N3)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentHung,
    AgentOrchestrator,
    AgentStatus,
    AgentStopped,
    Backoff,
    DefaultSupervisor,
    OrchestratedHandle,
    PoisonRequest,
    ReplyFuture,
    RequestTimeout,
    Shutdown,
)
from procorch.supervision import notices
from tests.process.scenes import until

Start = Callable[..., OrchestratedHandle]
Orchestrator = Callable[..., AgentOrchestrator]
GateMaker = Callable[[], Any]

NO_DELAY = Backoff(initial=0)


def mortal(tell: Callable[..., None]) -> Callable[[], Any]:
    """An agent that tells what it executes; its first ``n`` generations die of ``("die", n)``."""

    def factory():
        import os
        import time

        import procorch

        def handle(x):
            context = procorch.current()
            tell(f"{x} in {context.generation}")
            if isinstance(x, tuple) and x[0] == "die" and context.generation <= x[1]:
                os._exit(3)
            if isinstance(x, tuple) and x[0] == "hang" and context.generation <= x[1]:
                time.sleep(1000)
            return context.generation

        return handle

    return factory


@pytest.fixture
def log(gate: GateMaker) -> Any:
    return gate()


@pytest.fixture
def begin(start: Start, log: Any) -> Callable[..., OrchestratedHandle]:
    def begin(**settings: Any) -> OrchestratedHandle:
        settings = {"supervisor": DefaultSupervisor(10), "backoff": NO_DELAY, **settings}
        return start(mortal(log.tell), **settings)

    return begin


def crash(reply: ReplyFuture) -> AgentCrashed:
    error = reply.exception()
    assert isinstance(error, AgentCrashed), error
    return error


def output(reply: ReplyFuture) -> Any:
    return reply.result().output


# ---- at most once, unless asked otherwise


def test_a_request_is_executed_at_most_once_by_default(begin: Any, log: Any) -> None:
    """N3, I4."""
    handle = begin()
    lost, after = handle.deliver(("die", 1)), handle.deliver("next")
    error = crash(lost)
    assert output(after) == 2
    assert log.told() == ["('die', 1) in 1", "next in 2"]
    assert (error.exitcode, error.signal, error.generation) == (3, None, 1)
    assert (error.request, error.may_have_executed) == (lost.request, True)


def test_a_retried_request_comes_back_before_all_others(begin: Any, log: Any) -> None:
    """N3, I4: it is first again, so the order of the queue stands."""
    handle = begin()
    replies = [handle.deliver(x, retries=2) for x in (("die", 2), "b", "c")]
    assert [output(reply) for reply in replies] == [3, 3, 3]
    assert log.told() == [f"('die', 2) in {n}" for n in (1, 2, 3)] + ["b in 3", "c in 3"]


def test_retries_run_out_with_the_last_death_as_the_error(begin: Any, log: Any) -> None:
    """N3."""
    handle = begin()
    error = crash(handle.deliver(("die", 9), retries=1))
    assert error.generation == 2
    assert output(handle.deliver("next")) == 3
    assert log.told() == ["('die', 9) in 1", "('die', 9) in 2", "next in 3"]


def test_retries_are_a_setting_that_a_request_may_override(begin: Any, log: Any) -> None:
    """N3."""
    handle = begin(retries=1)
    assert output(handle.deliver(("die", 1))) == 2
    crash(handle.deliver(("die", 9), retries=0))
    assert log.told() == ["('die', 1) in 1", "('die', 1) in 2", "('die', 9) in 2"]
    with pytest.raises(ValueError, match="retries must be 0 or more"):
        handle.deliver("x", retries=-1)


def test_a_hung_worker_is_a_death_like_any_other(begin: Any, log: Any) -> None:
    """N3, N12."""
    handle = begin(heartbeat_timeout=0.3)
    assert output(handle.deliver(("hang", 1), retries=1)) == 2
    assert isinstance(handle.deliver(("hang", 2)).exception(), AgentHung)


def test_a_timeout_is_not_retried(begin: Any, log: Any) -> None:
    """N3: it is the request that was too slow; the worker is not to blame."""
    handle = begin()
    reply = handle.deliver(("hang", 9), retries=5, timeout=0.2)
    assert isinstance(reply.exception(), RequestTimeout)
    assert output(handle.deliver("next")) == 1
    assert log.told() == ["('hang', 9) in 1", "next in 1"]


def test_all_tries_together_have_one_deadline(start: Start, gate: GateMaker) -> None:
    """N3: the second try does not begin a new one, and the agent is told what is left."""
    begun = gate()
    tell = begun.tell

    def factory():
        import os
        import time

        import procorch

        def handle(x):
            context = procorch.current()
            tell(context.remaining())
            if context.generation == 1:
                os._exit(1)
            time.sleep(1000)

        return handle

    handle = start(factory, supervisor=DefaultSupervisor())
    reply = handle.submit({"work": 1}, retries=1, timeout=1)
    with pytest.raises(RequestTimeout) as caught:
        reply.result()
    assert caught.value.ran
    first, second = float(begun.line()), float(begun.line())
    assert 0 < second < first <= 1


def test_without_a_policy_a_retried_request_ends_with_its_agent(start: Start, log: Any) -> None:
    """N3: nobody restarts the agent, so there is nobody to retry it."""
    handle = start(mortal(log.tell))
    error = handle.deliver(("die", 1), retries=5).exception()
    assert isinstance(error, AgentStopped)
    assert isinstance(error.__cause__, AgentCrashed)
    assert handle.status() is AgentStatus.FAILED


# ---- poison


def test_a_request_that_kills_one_worker_after_the_other_is_poison(begin: Any, log: Any) -> None:
    """N3: ``allowed_failures`` + 1 deaths, named one by one; the agent works on."""
    handle = begin(allowed_failures=1)
    reply = handle.deliver(("die", 99), retries=50)
    error = reply.exception()
    assert isinstance(error, PoisonRequest)
    assert not error.is_retryable
    assert (error.agent, error.request) == ("a", reply.request)
    assert [(death.generation, death.exitcode) for death in error.deaths] == [(1, 3), (2, 3)]
    assert output(handle.deliver("next")) == 3
    assert log.told() == ["('die', 99) in 1", "('die', 99) in 2", "next in 3"]


def test_every_death_of_a_poison_request_counts_against_its_agent(begin: Any) -> None:
    """N1, N3: the budget is the agent's; a success would make it whole again."""
    handle = begin(supervisor=DefaultSupervisor(1), allowed_failures=9)
    error = handle.deliver(("die", 99), retries=50).exception()
    assert isinstance(error, AgentStopped)
    handle.wait()
    assert handle.status() is AgentStatus.FAILED
    assert handle.generation == 2
    assert handle.info().restarts == 1


# ---- whether it was executed


def test_a_request_that_its_worker_never_began_was_not_executed(
    orchestrator: Orchestrator, log: Any
) -> None:
    """N3: `may_have_executed` is exact: the worker marks the start where a death cannot erase it.

    The request has been written to the worker, which is stopped and so has not read it.
    """
    orch = orchestrator()
    orch.add_agent("a", mortal(log.tell))
    handle = orch.spawn("a")
    assert output(handle.deliver("before")) == 1
    stream = orch.monitor("a")
    assert handle.pid is not None
    os.kill(handle.pid, signal.SIGSTOP)
    reply = handle.deliver("unread")
    until(stream, notices.RequestStarted, "a")
    os.kill(handle.pid, signal.SIGKILL)
    error = crash(reply)
    assert (error.signal, error.request) == ("SIGKILL", reply.request)
    assert not error.may_have_executed
    assert log.told() == ["before in 1"]


def test_a_reply_that_was_complete_before_the_death_stands(orchestrator: Orchestrator) -> None:
    """N3: what a dead worker wrote is read first; this one dies when it forgets what it said."""

    def factory():
        import os

        class Last:
            def __reduce__(self):
                return str, ("last words",)

            def __del__(self):
                os._exit(9)

        return lambda x: Last() if x == "die" else os.getpid()

    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    stream = orch.monitor("a")
    first = handle.pid
    assert output(handle.deliver("die")) == "last words"
    until(stream, notices.Ready, "a")
    assert output(handle.deliver("pid")) == handle.pid != first
    assert "exited with code 9" in str(handle.info().last_exit)


def test_the_caller_hears_of_a_death_before_the_next_worker_is_built(
    start: Start, gate: GateMaker
) -> None:
    """N3: at once, whatever the factory does; meanwhile the queue takes what it can hold."""
    again, go = gate(), gate()
    tell, wait = again.tell, go.wait

    def factory():
        import os

        import procorch

        if procorch.current().generation > 1:
            tell()
            wait()
        return lambda x: os._exit(1) if x == "die" else x

    handle = start(factory, supervisor=DefaultSupervisor(), channel_buffer=1)
    crash(handle.deliver("die"))
    again.line()
    queued = handle.deliver("queued")
    no_place = handle.submit(["no place"], timeout=0.1).exception()
    assert isinstance(no_place, RequestTimeout)
    assert not no_place.ran
    go.open()
    assert output(queued) == "queued"


# ---- deadlines in the queue


def test_a_request_whose_deadline_passes_in_the_queue_is_never_executed(
    start: Start, gate: GateMaker
) -> None:
    """N3: the others keep their places."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory():
        def handle(x):
            tell(x)
            if x == "hold":
                wait()
            return x

        return handle

    handle = start(factory)
    held = handle.deliver("hold")
    late = handle.submit(["late"], timeout="100ms")
    last = handle.deliver("last")
    with pytest.raises(RequestTimeout, match=r"0\.1 s, and was not executed") as caught:
        late.result()
    assert not caught.value.ran
    go.open()
    assert [output(held), output(last)] == ["hold", "last"]
    assert begun.told() == ["hold", "last"]


def test_a_deadline_may_count_from_the_moment_the_agent_gets_the_request(
    start: Start, gate: GateMaker
) -> None:
    """`deliver`: how long it waited behind others is no fault of its own."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory():
        import procorch

        def handle(x):
            tell(x)
            wait()
            return procorch.current().remaining()

        return handle

    handle = start(factory, shutdown=Shutdown(cooperate=0, interrupt=30))
    held = handle.deliver("hold")
    begun.line()
    waiting = handle.deliver("waits", timeout=60)
    timed = handle.submit(["in the queue"], timeout=0.2)
    assert isinstance(timed.exception(), RequestTimeout)
    go.open(2)
    assert output(held) is None
    assert 59 < output(waiting) <= 60
