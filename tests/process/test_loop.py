"""What an agent's loop does with requests, errors and its end, on real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from procorch import (
    Aborted,
    AgentCrashed,
    AgentError,
    AgentFailure,
    AgentOrchestrator,
    AgentResult,
    AgentStatus,
    AgentStopped,
    Backoff,
    DefaultSupervisor,
    ModelThrottled,
    OrchestratedHandle,
    PluginError,
    RequestTimeout,
    StopReason,
    SupervisorAction,
)

RESTART, STOP, ESCALATE = SupervisorAction.RESTART, SupervisorAction.STOP, SupervisorAction.ESCALATE

Start = Callable[..., OrchestratedHandle]
Orchestrator = Callable[..., AgentOrchestrator]
GateMaker = Callable[[], Any]
Factory = Callable[[], Any]


@pytest.fixture
def counting() -> Callable[[], Any]:
    """An agent with a state: the number of the request; raises a retryable error when told to."""

    def factory():
        import procorch

        seen = []

        def handle(x):
            seen.append(x)
            if x == "fail":
                raise procorch.ModelThrottled("slow down")
            return len(seen)

        return handle

    return factory


def answering(*answers: SupervisorAction) -> Callable[[str, AgentError], SupervisorAction]:
    """A policy that gives these answers in turn."""
    left = list(answers)
    return lambda name, error: left.pop(0)


def fail(handle: OrchestratedHandle) -> ModelThrottled:
    with pytest.raises(ModelThrottled, match="slow down") as caught:
        handle.deliver("fail").result()
    return caught.value


def output(handle: OrchestratedHandle, request: Any = "go") -> Any:
    return handle.deliver(request).result().output


# 1


def test_the_factory_runs_in_the_worker_at_every_start_and_never_in_the_parent(
    start: Start, gate: GateMaker
) -> None:
    built = gate()
    tell = built.tell

    def factory():
        import os

        tell(os.getpid())
        return lambda x: os.getpid()

    handle = start(factory, supervisor=DefaultSupervisor())
    first = int(built.line())
    assert first == handle.pid == output(handle) != os.getpid()

    os.kill(first, signal.SIGKILL)
    second = int(built.line())
    assert second == output(handle) == handle.pid != first
    assert handle.generation == 2
    assert built.told() == []


# 2


@pytest.mark.queue
def test_a_cancelled_agent_takes_no_further_request(start: Start, gate: GateMaker) -> None:
    begun, never = gate(), gate()
    tell, wait = begun.tell, never.wait

    def factory():
        def handle(x):
            tell(x)
            wait()

        return handle

    handle = start(factory)
    running = handle.deliver("first")
    waiting = [handle.deliver("second"), handle.deliver("third")]
    assert begun.line() == "first"

    handle.cancel()
    late = handle.deliver("late")

    with pytest.raises(Aborted):
        handle.await_result()
    assert handle.status() is AgentStatus.CANCELLED
    assert isinstance(running.exception(), Aborted)
    for reply in waiting:
        assert "agent reply dropped" in str(reply.exception())
    assert "agent channel closed" in str(late.exception())
    assert begun.told() == []


def test_an_idle_agent_is_cancelled_at_once_and_cancel_is_idempotent(
    start: Start, counting: Factory
) -> None:
    handle = start(counting)
    for _ in range(3):
        handle.cancel()
    with pytest.raises(Aborted):
        handle.await_result()
    handle.cancel()
    assert handle.status() is AgentStatus.CANCELLED
    assert handle.is_done()


# 3


def test_an_agent_has_one_request_at_a_time_in_the_order_of_sending(
    start: Start, gate: GateMaker
) -> None:
    log = gate()
    tell = log.tell

    def factory():
        def handle(x):
            tell(f"begin {x}")
            tell(f"end {x}")

        return handle

    handle = start(factory)
    for reply in [handle.deliver(n) for n in range(5)]:
        reply.result()
    assert log.told() == [line for n in range(5) for line in (f"begin {n}", f"end {n}")]


@pytest.mark.queue
def test_a_full_channel_makes_the_sender_wait(start: Start, gate: GateMaker) -> None:
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory():
        def handle(x):
            if x == "hold":
                tell()
                wait()
            return x

        return handle

    handle = start(factory, channel_buffer=2)
    held = handle.deliver("hold")
    begun.line()  # it has left the channel
    filling = [handle.deliver("a"), handle.deliver("b")]

    before = time.monotonic()
    no_place = handle.submit("no place", timeout=0.1)
    assert time.monotonic() - before >= 0.1  # it is the sender who waits
    with pytest.raises(RequestTimeout, match="not executed"):
        no_place.result()

    with ThreadPoolExecutor(1) as sender:
        sent = sender.submit(handle.deliver, "c")
        go.open()
        assert sent.result().result().output == "c"
    assert [reply.result().output for reply in (held, *filling)] == ["hold", "a", "b"]


# 4


def test_a_success_resets_the_counter_of_consecutive_restarts(
    start: Start, counting: Factory
) -> None:
    handle = start(
        counting, supervisor=DefaultSupervisor(), max_restarts=1, backoff=Backoff(initial=0)
    )
    for _ in range(3):
        fail(handle)
        assert output(handle) == 1
    assert handle.generation == 4

    fail(handle)
    fail(handle)
    with pytest.raises(PluginError, match="stopped by supervisor"):
        handle.await_result()


# 5


def test_the_error_is_replied_first_and_then_a_fresh_agent_takes_over(
    start: Start, gate: GateMaker
) -> None:
    again, go = gate(), gate()
    tell, wait = again.tell, go.wait

    def factory():
        import procorch

        if procorch.current().generation > 1:
            tell()
            wait()
        seen = []

        def handle(x):
            seen.append(x)
            if x == "fail":
                raise procorch.ModelThrottled("slow down")
            return len(seen)

        return handle

    handle = start(factory, supervisor=DefaultSupervisor())
    assert output(handle) == 1
    old = handle.pid

    fail(handle)  # returns although the next agent is not built yet
    again.line()
    assert handle.status() is AgentStatus.RUNNING
    reply = handle.deliver("go")
    go.open()

    assert reply.result().output == 1  # nothing is left of the old agent's state
    assert handle.pid != old
    assert handle.generation == 2


# 6


@pytest.mark.parametrize(
    ("answer", "max_restarts"), [(RESTART, 0), (STOP, 3)], ids=["budget spent", "STOP"]
)
def test_without_budget_or_after_stop_the_agent_ends_failed(
    start: Start, counting: Factory, answer: SupervisorAction, max_restarts: int
) -> None:
    handle = start(counting, supervisor=answering(answer), max_restarts=max_restarts)
    error = fail(handle)

    with pytest.raises(PluginError) as caught:
        handle.await_result()
    assert str(caught.value) == "plugin error (orchestrator): agent 'a' stopped by supervisor"
    assert repr(caught.value.__cause__) == repr(error)
    assert handle.status() is AgentStatus.FAILED
    assert handle.generation == 1


def test_exactly_max_restarts_restarts_pass(start: Start, counting: Factory) -> None:
    handle = start(
        counting, supervisor=DefaultSupervisor(), max_restarts=2, backoff=Backoff(initial=0)
    )
    for _ in range(3):
        fail(handle)
    with pytest.raises(PluginError, match="stopped by supervisor"):
        handle.await_result()
    assert handle.generation == 3


# 7


@pytest.mark.parametrize(
    "policy", [None, lambda name, error: ESCALATE], ids=["no policy", "ESCALATE"]
)
def test_an_escalated_error_keeps_the_agent_and_its_state(
    start: Start, counting: Factory, policy: Any
) -> None:
    handle = start(counting, supervisor=policy)
    pid = handle.pid
    fail(handle)
    assert output(handle) == 2
    fail(handle)
    assert output(handle) == 4
    assert handle.pid == pid
    assert handle.generation == 1


def test_an_escalated_error_leaves_the_counter_as_it_was(start: Start, counting: Factory) -> None:
    policy = answering(ESCALATE, ESCALATE, RESTART, ESCALATE, RESTART)
    handle = start(counting, supervisor=policy, max_restarts=1)
    for _ in range(5):
        fail(handle)
    # ESCALATE neither used the one restart up nor gave it back.
    with pytest.raises(PluginError, match="stopped by supervisor"):
        handle.await_result()
    assert handle.generation == 2


# 8


def test_a_closed_and_drained_channel_completes_with_the_empty_result(
    start: Start, gate: GateMaker
) -> None:
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory():
        def handle(x):
            tell()
            wait()
            return x

        return handle

    handle = start(factory)
    replies = [handle.deliver(n) for n in range(3)]
    begun.line()
    with ThreadPoolExecutor(1) as waiter:
        end = waiter.submit(handle.await_result)
        go.open(3)
        assert end.result() == AgentResult(stop_reason=StopReason.STOP)
    assert [reply.result().output for reply in replies] == [0, 1, 2]
    assert handle.status() is AgentStatus.COMPLETED
    assert handle.is_done()
    with pytest.raises(AgentStopped, match="agent channel closed"):
        handle.send_message("hi")


# 9


def cancelled(handle: OrchestratedHandle, orch: AgentOrchestrator) -> None:
    handle.cancel()


def killed(handle: OrchestratedHandle, orch: AgentOrchestrator) -> None:
    assert handle.pid is not None
    os.kill(handle.pid, signal.SIGKILL)


def closed(handle: OrchestratedHandle, orch: AgentOrchestrator) -> None:
    orch.close(drain=False)


@pytest.mark.parametrize(
    ("end", "status", "running_gets"),
    [
        (cancelled, AgentStatus.CANCELLED, Aborted),
        (killed, AgentStatus.FAILED, AgentCrashed),
        (closed, AgentStatus.STOPPED, Aborted),
    ],
    ids=["cancel", "death", "close"],
)
def test_whatever_ends_the_agent_every_sender_gets_an_error(
    orchestrator: Orchestrator,
    gate: GateMaker,
    end: Callable[[OrchestratedHandle, AgentOrchestrator], None],
    status: AgentStatus,
    running_gets: type[AgentError],
) -> None:
    begun, never = gate(), gate()
    tell, wait = begun.tell, never.wait

    def factory():
        def handle(x):
            tell(x)
            wait()

        return handle

    orch = orchestrator(channel_buffer=1)
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    running = handle.deliver("running")
    assert begun.line() == "running"
    queued = handle.deliver("queued")
    at_the_door = threading.Event()

    def send() -> AgentError | BaseException | None:
        at_the_door.set()
        return handle.deliver("waits for a place").exception()

    with ThreadPoolExecutor(1) as sender:
        blocked = sender.submit(send)
        at_the_door.wait()
        end(handle, orch)
        assert isinstance(running.exception(), running_gets)
        assert isinstance(queued.exception(), AgentError)
        assert isinstance(blocked.result(), AgentError)
    with contextlib.suppress(AgentError):
        handle.await_result()
    assert handle.status() is status
    with pytest.raises(AgentStopped, match="agent channel closed"):
        handle.send_message("too late")
    assert begun.told() == []


def test_an_error_of_the_agents_own_code_arrives_as_agent_failure(start: Start) -> None:
    def factory():
        def handle(messages):
            raise ValueError("boom")

        return handle

    handle = start(factory)
    with pytest.raises(AgentFailure) as caught:
        handle.send_message("hi")
    assert str(caught.value) == "agent 'a' failed: ValueError: boom"
