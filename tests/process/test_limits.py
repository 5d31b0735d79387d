"""N23: one limit for all processes that use a service, with real workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import procorch
from procorch import (
    AgentCrashed,
    AgentFailure,
    AgentOptions,
    AgentOrchestrator,
    AgentPool,
    Limit,
    ModelThrottled,
    NetworkError,
    OrchestratedHandle,
    PluginError,
    RequestCancelled,
    ServiceSupervisor,
    Throttle,
    Throttled,
    current,
    run_batch,
)
from procorch.testing import FakeClock, TestOrchestrator
from tests.process.conftest import PATIENCE, Gate

Make = Callable[..., AgentOrchestrator]
MakeGate = Callable[[], Gate]


class Gates:
    """What agents say, and what they wait for."""

    def __init__(self, make: MakeGate) -> None:
        self.said, self.go = make(), make()


def held(gates: Gates) -> Callable[[], Any]:
    """An agent that says when it has begun, and waits for the test with its permit in hand."""
    tell, wait = gates.said.tell, gates.go.wait

    def factory() -> Any:
        def handle(name: str) -> str:
            tell(name)
            if name == "die":
                procorch.testing.die()
            wait()
            return name

        return handle

    return factory


def served(orch: AgentOrchestrator, name: str, factory: Any, **settings: Any) -> OrchestratedHandle:
    orch.add_agent(name, factory, **settings)
    return orch.spawn(name)


def state(orch: AgentOrchestrator, waiting: int) -> procorch.LimitState:
    """The limit "service", once so many wait."""
    end = time.monotonic() + PATIENCE
    while (found := orch.limits()["service"]).waiting != waiting:
        assert time.monotonic() < end, found
        time.sleep(0.005)
    return found


def test_agents_of_two_programs_parts_take_turns(orchestrator: Make, gate: MakeGate) -> None:
    gates = Gates(gate)
    one, other = orchestrator(), orchestrator()
    shared = one.limit("service", concurrent=1)
    assert other.limit(shared) is shared
    first = served(one, "a", held(gates), limit="service").deliver("first")
    assert gates.said.line() == "first"
    second = served(other, "b", held(gates), limit=shared).deliver("second")
    assert state(one, waiting=1).under_way == 1
    third = served(one, "c", held(gates), limit="service").deliver("third")
    state(one, waiting=2)
    for reply, name in ((first, "second"), (second, "third")):
        assert gates.said.told() == []
        gates.go.open()
        assert reply.result(PATIENCE)
        assert gates.said.line() == name
    gates.go.open()
    assert third.result(PATIENCE).output == "third"


def test_a_permit_comes_back_when_its_holder_dies(orchestrator: Make, gate: MakeGate) -> None:
    gates, orch = Gates(gate), orchestrator(supervisor=ServiceSupervisor())
    orch.limit("service", concurrent=1)
    dying = served(orch, "a", held(gates), limit="service").deliver("die")
    other = served(orch, "b", held(gates), limit="service").deliver("on")
    assert gates.said.line() == "die"
    with pytest.raises(AgentCrashed):
        dying.result(PATIENCE)
    assert gates.said.line() == "on"
    gates.go.open()
    assert other.result(PATIENCE).output == "on"
    assert state(orch, waiting=0).under_way == 0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_who_is_cancelled_while_it_waits_keeps_no_permit(
    orchestrator: Make, gate: MakeGate, asynchronous: bool
) -> None:
    gates, orch = Gates(gate), orchestrator(supervisor=ServiceSupervisor())
    orch.limit("service", concurrent=1)
    first = served(orch, "a", held(gates), limit="service").deliver("first")
    assert gates.said.line() == "first"

    def factory() -> Any:
        async def handle(name: str) -> str:
            async with current().limit("service"):
                return name

        def blocking(name: str) -> str:
            with current().limit("service"):
                return name

        return handle if asynchronous else blocking

    waiter = served(orch, "b", factory)
    reply = waiter.deliver("never")
    state(orch, waiting=1)
    reply.cancel()
    with pytest.raises(RequestCancelled):
        reply.result(PATIENCE)
    state(orch, waiting=0)
    gates.go.open()
    first.result(PATIENCE)
    assert waiter.deliver("again").result(PATIENCE).output == "again"
    assert waiter.info().generation == 1
    assert state(orch, waiting=0).under_way == 0


def test_who_waits_for_a_permit_does_not_hang(orchestrator: Make, gate: MakeGate) -> None:
    gates, orch = Gates(gate), orchestrator()
    orch.limit("service", concurrent=1)
    first = served(orch, "a", held(gates), limit="service").deliver("first")
    assert gates.said.line() == "first"

    def factory() -> Any:
        return lambda name: name

    waiter = served(orch, "b", factory, limit="service", heartbeat_timeout=0.2)
    reply = waiter.deliver("second")
    state(orch, waiting=1)
    with pytest.raises(TimeoutError):
        reply.result(1.0)
    gates.go.open()
    assert first.result(PATIENCE)
    assert reply.result(PATIENCE).output == "second"
    assert waiter.info().generation == 1


def throttling(kind: str) -> Callable[[], Any]:
    """An agent whose service refuses the first call, and then says when it was asked."""

    def factory() -> Any:
        calls: list[float] = []

        def call() -> list[float]:
            calls.append(time.monotonic())
            if len(calls) == 1:
                raise ModelThrottled("slow down", retry_after=0.6)
            return calls

        if kind == "turns":
            return AgentOptions(stream_fn=lambda context: repr(call()))
        return lambda name: repr(call())

    return factory


def test_a_refusal_stops_all_and_a_turn_is_tried_again(orchestrator: Make) -> None:
    orch = orchestrator()
    orch.limit("service")
    events = orch.events()
    turns = served(orch, "a", throttling("turns"), limit="service")
    other = served(orch, "b", lambda: lambda name: time.monotonic(), limit="service")
    reply = turns.deliver("hi")
    pause = next(event for event in events if isinstance(event, Throttled))
    begun = other.deliver("now").result(PATIENCE).output
    first, second = eval(reply.result(PATIENCE).output)
    assert (pause.agent, pause.asked, pause.delay) == ("a", 0.6, 0.6)
    assert second - first >= 0.6
    assert begun - first >= 0.6
    assert turns.info().generation == 1


def test_a_handler_is_not_run_again_by_its_limit(orchestrator: Make) -> None:
    orch = orchestrator(supervisor=ServiceSupervisor())
    orch.limit("service")
    agent = served(orch, "a", throttling("handler"), limit="service", throttle=None)
    with pytest.raises(ModelThrottled):
        agent.deliver("hi").result(PATIENCE)
    first, second = eval(agent.deliver("hi").result(PATIENCE).output)
    assert second - first >= 0.6


def test_a_turn_that_was_heard_is_not_begun_again(start: Callable[..., Any]) -> None:
    def factory() -> Any:
        calls: list[None] = []

        def turn(context: Any) -> Iterator[str]:
            calls.append(None)
            yield f"call {len(calls)}"
            raise ModelThrottled("slow down", retry_after=0.0)

        return AgentOptions(stream_fn=turn)

    agent = start(factory, supervisor=ServiceSupervisor(), limit=Limit("service"))
    reply = agent.stream("hi", timeout=PATIENCE)
    assert next(reply) == "call 1"
    with pytest.raises(ModelThrottled):
        next(reply)


def test_a_turn_that_is_refused_too_often_fails(start: Callable[..., Any]) -> None:
    def factory() -> Any:
        calls: list[None] = []

        def turn(context: Any) -> str:
            calls.append(None)
            raise ModelThrottled(f"{len(calls)} calls", retry_after=0.0)

        return AgentOptions(stream_fn=turn)

    agent = start(factory, supervisor=ServiceSupervisor(), limit=Limit("service", retries=1))
    with pytest.raises(ModelThrottled, match="2 calls"):
        agent.deliver("hi").result(PATIENCE)


@pytest.mark.parametrize(("client_retries", "calls"), [(True, 3), (False, 1)])
def test_a_turn_that_was_lost_is_tried_again_as_a_client_would(
    start: Callable[..., Any], client_retries: bool, calls: int
) -> None:
    def factory() -> Any:
        made: list[None] = []

        def turn(context: Any) -> str:
            made.append(None)
            raise NetworkError(f"{len(made)} calls")

        return AgentOptions(stream_fn=turn)

    agent = start(
        factory,
        supervisor=ServiceSupervisor(),
        limit=Limit("service"),
        client_retries=client_retries,
    )
    with pytest.raises(NetworkError, match=f"{calls} calls"):
        agent.deliver("hi").result(PATIENCE)


def test_an_agent_needs_a_limit_that_was_declared(orchestrator: Make) -> None:
    orch = orchestrator()
    orch.limit("openai", concurrent=1)
    orch.add_agent("a", lambda: len, limit="opnai")
    with pytest.raises(ValueError, match=r"'opnai' was declared.*did you mean 'openai'"):
        orch.spawn("a")

    def factory() -> Any:
        def handle(name: str | None) -> None:
            with current().limit(name):
                pass

        return handle

    agent = served(orch, "b", factory)
    with pytest.raises(PluginError, match="no limit is called 'opnai'; did you mean 'openai'"):
        agent.deliver("opnai").result(PATIENCE)
    with pytest.raises(AgentFailure, match="give limit\\(\\) a name"):
        agent.deliver(None).result(PATIENCE)
    with pytest.raises(ValueError, match="already declared"):
        orch.limit("openai")
    with pytest.raises(ValueError, match="another limit has the name 'openai'"):
        orch.add_agent("c", lambda: len, limit=Limit("openai"))
    with pytest.raises(TypeError, match="limit must be a name or a Limit"):
        orch.add_agent("d", lambda: len, limit=3)


def test_a_pool_and_a_batch_share_a_limit(orchestrator: Make, gate: MakeGate) -> None:
    gates, shared = Gates(gate), Limit("service", concurrent=1)
    orch = orchestrator()
    orch.limit(shared)
    first = served(orch, "a", held(gates), limit=shared).deliver("first")
    assert gates.said.line() == "first"
    with (
        AgentPool(lambda: lambda item: item, 2, limit=shared) as pool,
        run_batch(
            lambda: lambda item: item, [7], out=None, workers=1, shared_limit=shared
        ) as batch,
    ):
        items = [pool.submit(1), pool.submit(2)]
        state(orch, waiting=2)
        assert batch.step(0.01) == []
        state(orch, waiting=3)
        gates.go.open()
        assert first.result(PATIENCE)
        assert [item.result(PATIENCE).output for item in items] == [1, 2]
        assert [item.output for item in batch] == [7]


def test_time_may_be_virtual() -> None:
    with TestOrchestrator(clock=FakeClock()) as orch:
        orch.limit("service", per_minute=2)
        orch.add_agent("a", lambda: lambda name: name, limit="service", throttle=Throttle())
        agent = orch.spawn("a")
        before = orch.clock.now()
        for name in "abc":
            assert agent.deliver(name).result().output == name
        assert orch.clock.now() - before == pytest.approx(60.0, abs=0.1)
