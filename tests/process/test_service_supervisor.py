"""The policy for services: what errors of a request and of other agents do to an agent."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentError,
    AgentFailure,
    AgentOrchestrator,
    AgentStatus,
    AgentStopped,
    AuthError,
    ContentFiltered,
    ContextWindowOverflow,
    DefaultSupervisor,
    ModelRetired,
    ModelThrottled,
    NetworkError,
    OrchestratedHandle,
    PluginError,
    PoolSupervisor,
    ServiceSupervisor,
    StartError,
    StreamError,
    StructuredOutputFailed,
)
from tests.process.conftest import PATIENCE

Start = Callable[..., OrchestratedHandle]
Orchestrator = Callable[..., AgentOrchestrator]
Factory = Callable[[], Any]


def counter() -> Factory:
    """An agent that counts its requests; an exception is raised, a signal is sent to itself."""

    def factory():
        import os

        served = []

        def handle(what):
            served.append(what)
            if isinstance(what, Exception):
                raise what
            if isinstance(what, int):
                os.kill(os.getpid(), what)
            return os.getpid(), len(served)

        return handle

    return factory


OF_THE_REQUEST = (
    ContentFiltered("no"),
    ContextWindowOverflow("too long"),
    StructuredOutputFailed("no city"),
    StreamError("what?"),
    AuthError("who?"),
    ModelRetired("gone"),
    NetworkError("lost"),
    ModelThrottled("slow down", retry_after=0.05),
    ValueError("of a tool"),
)


@pytest.mark.parametrize("policy", [ServiceSupervisor(), PoolSupervisor()])
def test_no_error_of_a_request_ends_a_service_or_costs_its_state(start: Start, policy: Any) -> None:
    agent = start(counter(), supervisor=policy)
    pid, _ = agent.deliver("first").result(PATIENCE).output
    for error in OF_THE_REQUEST:
        raised = agent.deliver(error).exception(PATIENCE)
        assert isinstance(raised, AgentFailure if isinstance(error, ValueError) else type(error))
    assert agent.deliver("last").result(PATIENCE).output == (pid, len(OF_THE_REQUEST) + 2)
    assert agent.status() is AgentStatus.RUNNING


def test_a_service_is_replaced_after_each_crash_however_many_there_are(start: Start) -> None:
    agent = start(counter(), supervisor=ServiceSupervisor(max_restarts=1))
    seen = set()
    for _ in range(4):
        assert isinstance(agent.deliver(signal.SIGKILL).exception(PATIENCE), AgentCrashed)
        seen.add(agent.deliver("on").result(PATIENCE).output)
    for _ in range(4):
        assert isinstance(agent.deliver(signal.SIGKILL).exception(PATIENCE), AgentCrashed)
    pid, served = agent.deliver("on").result(PATIENCE).output
    assert served == 1
    assert len(seen | {(pid, 1)}) == 5


def test_deaths_in_a_request_count_where_the_agent_wants_it(start: Start) -> None:
    agent = start(counter(), supervisor=ServiceSupervisor(), charge_requests=False, max_restarts=1)
    for _ in range(2):
        assert isinstance(agent.deliver(signal.SIGKILL).exception(PATIENCE), AgentCrashed)
    agent.wait()
    assert agent.status() is AgentStatus.FAILED


def test_a_service_that_cannot_start_ends(orchestrator: Orchestrator) -> None:
    def broken():
        raise LookupError("no database")

    orch = orchestrator(supervisor=ServiceSupervisor(max_restarts=1))
    orch.add_agent("a", broken)
    with pytest.raises(StartError, match="no database"):
        orch.spawn("a")


def test_the_next_request_of_a_service_waits_for_as_long_as_its_provider_asked(
    start: Start,
) -> None:
    def throttled():
        import time

        import procorch

        last = []

        def handle(what):
            gap = time.monotonic() - last[-1] if last else None
            last.append(time.monotonic())
            if gap is None:
                raise procorch.ModelThrottled("slow down", retry_after=0.5)
            return gap

        return handle

    agent = start(throttled, supervisor=ServiceSupervisor())
    first, second = agent.deliver("one"), agent.deliver("two")
    assert isinstance(first.exception(PATIENCE), ModelThrottled)
    assert second.result(PATIENCE).output >= 0.5


# What another agent fails with.


def team(orch: AgentOrchestrator, how: str) -> dict[str, OrchestratedHandle]:
    """A planner that passes on what its researcher is to raise, and does not catch it."""

    def planner():
        import asyncio
        import os

        import procorch

        async def handle(what):
            if what == "alone":
                return os.getpid()
            asked = procorch.current().ask_async("researcher", what)
            if how == "group":
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(asked)
            return await asked

        return handle

    orch.add_agent("planner", planner)
    orch.add_child("researcher", "planner", counter())
    return orch.spawn_tree("planner")


@pytest.mark.parametrize("how", ["plain", "group"])
@pytest.mark.parametrize("what", [ContentFiltered("no"), NetworkError("lost"), signal.SIGKILL])
def test_an_error_of_a_child_is_not_judged_as_the_askers(
    orchestrator: Orchestrator, how: str, what: Any
) -> None:
    handles = team(orchestrator(supervisor=DefaultSupervisor()), how)
    planner = handles["planner"]
    pid = planner.deliver("alone").result(PATIENCE).output
    error = planner.deliver(what).exception(PATIENCE)
    assert isinstance(error, AgentError)
    assert error.agent == "researcher"
    assert planner.deliver("alone").result(PATIENCE).output == pid
    assert planner.info().restarts == 0


def test_asking_an_agent_that_has_ended_is_not_judged_as_the_askers(
    orchestrator: Orchestrator,
) -> None:
    handles = team(orchestrator(supervisor=DefaultSupervisor()), "plain")
    handles["researcher"].cancel()
    handles["researcher"].wait()
    error = handles["planner"].deliver("hi").exception(PATIENCE)
    assert isinstance(error, PluginError)
    assert "'researcher' is not running" in str(error)
    pid = handles["planner"].info().pid
    assert handles["planner"].deliver("alone").result(PATIENCE).output == pid != os.getpid()


# The status of an agent whose end is fixed.


def test_the_status_is_final_once_a_request_was_told_that_its_agent_has_ended(
    orchestrator: Orchestrator,
) -> None:
    """Its process takes a while to leave: its `close()` waits."""

    def slow_to_leave():
        import time

        class Slow:
            def handle(self, what):
                raise ValueError(what)

            def close(self):
                time.sleep(0.3)

        return Slow()

    orch = orchestrator(supervisor=DefaultSupervisor())
    for number in range(3):
        name = f"a{number}"
        orch.add_agent(name, slow_to_leave)
        agent = orch.spawn(name)
        first, second = agent.deliver("one"), agent.deliver("two")
        assert isinstance(second.exception(PATIENCE), AgentStopped)
        assert agent.status() is AgentStatus.FAILED
        assert isinstance(agent.deliver("three").exception(PATIENCE), AgentStopped)
        assert agent.status() is AgentStatus.FAILED
        assert isinstance(first.exception(PATIENCE), AgentFailure)
        agent.wait()
        assert agent.is_done()
