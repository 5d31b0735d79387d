"""Policies that decide about parents, and policies that misbehave, on real processes (N6, N13)."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    Aborted,
    AgentCrashed,
    AgentError,
    AgentFailure,
    AgentOrchestrator,
    AgentStatus,
    DefaultSupervisor,
    OrchestratedHandle,
    PluginError,
    SupervisorAction,
)
from procorch.runtime import policy_call
from procorch.supervision import notices
from procorch.supervision.process import Course
from tests.process.scenes import Aside, about, until

RESTART, STOP, ESCALATE = SupervisorAction.RESTART, SupervisorAction.STOP, SupervisorAction.ESCALATE

Orchestrator = Callable[..., AgentOrchestrator]
Factory = Callable[[], Any]
Handles = dict[str, OrchestratedHandle]


@pytest.fixture
def obedient() -> Factory:
    def factory():
        import os

        def handle(x):
            if x == "raise":
                raise ValueError("boom")
            if x == "die":
                os._exit(1)
            return os.getpid()

        return handle

    return factory


def pid(handle: OrchestratedHandle) -> int:
    found: int = handle.deliver("pid").result().output
    return found


def fail(handle: OrchestratedHandle) -> AgentFailure:
    error = handle.deliver("raise").exception()
    assert isinstance(error, AgentFailure)
    assert "ValueError: boom" in str(error)
    return error


def reason(handle: OrchestratedHandle) -> BaseException | None:
    """What stopped an agent that its supervisor has stopped."""
    handle.wait()
    assert handle.status() is AgentStatus.FAILED
    with pytest.raises(PluginError, match=f"agent '{handle.name}' stopped by supervisor") as caught:
        handle.await_result()
    return caught.value.__cause__


# ---- N6


class Appealing:
    """Escalates every error, and answers for the parents as it is told to."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str, str]] = []

    def on_agent_error(self, name: str, error: AgentError) -> SupervisorAction:
        return ESCALATE

    def on_child_escalation(self, parent: str, child: str, error: AgentError) -> SupervisorAction:
        self.asked.append((parent, child, str(error)))
        answer = self.answers[parent]
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def three(orchestrator: Orchestrator, obedient: Factory) -> Callable[[Any], Any]:
    """A "top" with a "mid" with a "leaf", under a policy."""

    def make(policy: Any) -> tuple[AgentOrchestrator, Handles]:
        orch = orchestrator(supervisor=policy)
        orch.add_agent("top", obedient)
        orch.add_child("mid", "top", obedient)
        orch.add_child("leaf", "mid", obedient)
        return orch, orch.spawn_tree("top")

    return make


BOOM = "agent 'leaf' failed: ValueError: boom"


def test_an_escalated_error_costs_the_parent_its_process_where_the_policy_says_so(
    three: Any,
) -> None:
    """N6: the child is kept as it is, the parent replaced, under the parent's budget."""
    policy = Appealing(mid=RESTART)
    orch, handles = three(policy)
    before = {name: pid(handle) for name, handle in handles.items()}
    stream = orch.events()
    fail(handles["leaf"])
    until(stream, notices.Ready, "mid")
    after = {name: pid(handle) for name, handle in handles.items()}
    assert [name for name in before if before[name] != after[name]] == ["mid"]
    assert policy.asked == [("mid", "leaf", BOOM)]
    assert handles["mid"].info().restarts == 1
    assert handles["leaf"].info().restarts == 0


def test_the_policy_may_stop_the_parent_of_the_escalating_child(three: Any) -> None:
    """N6: with the child's error as its reason."""
    _, handles = three(Appealing(mid=STOP))
    fail(handles["leaf"])
    assert str(reason(handles["mid"])) == BOOM
    assert pid(handles["leaf"]) == handles["leaf"].pid
    assert pid(handles["top"]) == handles["top"].pid


def test_an_escalation_may_go_further_up_and_ends_at_the_root(three: Any) -> None:
    """N6: each parent is asked about its own child; above the root there is nobody to ask."""
    policy = Appealing(mid=ESCALATE, top=ESCALATE)
    orch, handles = three(policy)
    stream = orch.events()
    fail(handles["leaf"])
    seen = until(stream, notices.Escalated, "top")
    told = [n for n in seen if isinstance(n, notices.Escalated)]
    assert [(n.agent, n.path) for n in told] == [
        ("leaf", ("mid", "top")), ("mid", ("top",)), ("top", ()),
    ]  # fmt: skip
    assert {str(n.error) for n in told} == {BOOM}
    assert [asked[:2] for asked in policy.asked] == [("mid", "leaf"), ("top", "mid")]
    assert all(handle.generation == 1 and pid(handle) for handle in handles.values())


def test_without_the_method_nothing_happens_to_the_parent(three: Any) -> None:
    """N6: as in the seed; the event goes up all the same."""
    orch, handles = three(lambda name, error: ESCALATE)
    stream = orch.events()
    fail(handles["leaf"])
    until(stream, notices.Escalated, "leaf")
    assert all(handle.generation == 1 and pid(handle) for handle in handles.values())


def test_a_policy_that_fails_on_an_escalation_stops_that_parent_only(three: Any) -> None:
    """N6, N13."""
    _, handles = three(Appealing(mid=ZeroDivisionError("policy")))
    error = fail(handles["leaf"])
    assert error.agent == "leaf"
    assert isinstance(reason(handles["mid"]), ZeroDivisionError)
    assert pid(handles["leaf"]) == handles["leaf"].pid
    assert pid(handles["top"]) == handles["top"].pid


# ---- N13


class Raising:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_agent_error(self, name: str, error: AgentError) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "policy",
    [
        Raising(RuntimeError("no opinion")),
        Raising(SystemExit("no opinion")),
        Raising(KeyboardInterrupt("no opinion")),
    ],
    ids=lambda policy: type(policy.error).__name__,
)
def test_a_policy_that_raises_stops_that_agent_only(
    orchestrator: Orchestrator, obedient: Factory, policy: Raising
) -> None:
    """N13: the caller gets the original error with the policy's attached."""
    orch = orchestrator(supervisor=policy)
    for name in "ab":
        orch.add_agent(name, obedient)
    handles = orch.spawn_all()
    error = fail(handles["a"])
    assert any("policy failed" in note and "no opinion" in note for note in error.__notes__)
    assert reason(handles["a"]) is policy.error
    assert pid(handles["b"]) == handles["b"].pid
    assert pid(orch.spawn("a"))  # the monitor is as good as before


@pytest.mark.parametrize("junk", [None, "RESTART", 1, SupervisorAction])
def test_a_policy_that_answers_junk_stops_that_agent_only(
    orchestrator: Orchestrator, obedient: Factory, junk: Any
) -> None:
    """N13: what it said is named."""
    orch = orchestrator(supervisor=lambda name, error: junk)
    orch.add_agent("a", obedient)
    orch.add_agent("b", obedient)
    handles = orch.spawn_all()
    error = handles["a"].deliver("die").exception()
    assert isinstance(error, AgentCrashed)
    assert any(repr(junk) in note for note in error.__notes__)
    cause = reason(handles["a"])
    assert isinstance(cause, TypeError)
    assert repr(junk) in str(cause)
    assert pid(handles["b"]) == handles["b"].pid


def test_a_policy_that_thinks_holds_up_its_own_agent_only(
    orchestrator: Orchestrator,
    obedient: Factory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """N13: meanwhile others work, and the one in question can be looked at. It is logged."""
    monkeypatch.setattr(policy_call, "SLOW", 0.0)
    asked, go = threading.Event(), threading.Event()

    def think(name: str, error: AgentError) -> SupervisorAction:
        asked.set()
        go.wait()
        return RESTART

    orch = orchestrator(supervisor=think)
    for name in "ab":
        orch.add_agent(name, obedient)
    handles = orch.spawn_all()
    failing, waiting = handles["a"].deliver("raise"), handles["a"].deliver("pid")
    asked.wait()
    first = handles["b"].pid
    assert {pid(handles["b"]) for _ in range(20)} == {first}
    assert handles["a"].status() is AgentStatus.RUNNING
    assert handles["a"].info().state == "BUSY"
    assert not failing.done()
    assert not waiting.done()
    go.set()
    assert isinstance(failing.exception(), AgentFailure)
    assert waiting.result().output == handles["a"].pid
    assert handles["a"].generation == 2
    orch.close()
    slow = [r for r in caplog.records if r.levelno == logging.WARNING and "policy took" in r.msg]
    assert [record.args and record.args[1] for record in slow] == ["a"]


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_an_agent_can_be_ended_while_its_policy_thinks(
    orchestrator: Orchestrator, obedient: Factory, how: str
) -> None:
    """N13, N14: the error was complete, so the caller gets it; the verdict comes too late."""
    asked, go = threading.Event(), threading.Event()

    def think(name: str, error: AgentError) -> SupervisorAction:
        asked.set()
        go.wait()
        return RESTART

    orch = orchestrator(supervisor=think)
    orch.add_agent("a", obedient)
    handle = orch.spawn("a")
    stream = orch.monitor("a")
    reply = handle.deliver("raise")
    asked.wait()
    if how == "cancel":
        handle.cancel()
    else:
        Aside(orch.close, drain=False).result()
    handle.wait()
    go.set()
    assert handle.status() is (AgentStatus.CANCELLED if how == "cancel" else AgentStatus.STOPPED)
    assert isinstance(reply.exception(), AgentFailure)
    orch.close()
    assert about(notices.Starting, stream) == []


def test_a_policy_may_use_the_orchestrator(orchestrator: Orchestrator, obedient: Factory) -> None:
    """N13, N14: cancelling the agent in question wins over the verdict; it may wait for others."""
    handles: Handles = {}

    def policy(name: str, error: AgentError) -> SupervisorAction:
        handles["b"].stop()
        handles["a"].cancel()
        return RESTART

    orch = orchestrator(supervisor=policy)
    for name in "ab":
        orch.add_agent(name, obedient)
    handles.update(orch.spawn_all())
    fail(handles["a"])
    with pytest.raises(Aborted):
        handles["a"].await_result()
    assert handles["a"].status() is AgentStatus.CANCELLED
    assert handles["b"].status() is AgentStatus.STOPPED
    assert handles["a"].generation == 1


def test_a_policy_is_asked_about_an_idle_death_by_event(
    orchestrator: Orchestrator, obedient: Factory
) -> None:
    """N11: not by the next request; the error names no request."""
    asked: list[tuple[str, AgentError]] = []
    called = threading.Event()

    def policy(name: str, error: AgentError) -> SupervisorAction:
        asked.append((name, error))
        called.set()
        return RESTART

    orch = orchestrator(supervisor=policy)
    orch.add_agent("a", obedient)
    handle = orch.spawn("a")
    first = pid(handle)
    os.kill(first, signal.SIGKILL)
    assert called.wait(30)
    [(name, error)] = asked
    assert name == "a"
    assert isinstance(error, AgentCrashed)
    assert (error.request, error.signal, error.may_have_executed) == (None, "SIGKILL", False)
    assert pid(handle) != first


def test_a_restart_on_request_while_the_policy_thinks_is_not_forgotten(
    orchestrator: Orchestrator, obedient: Factory
) -> None:
    """N1: if the policy would keep the process, there is a new one all the same."""
    asked, go = threading.Event(), threading.Event()

    def think(name: str, error: AgentError) -> SupervisorAction:
        asked.set()
        go.wait()
        return ESCALATE

    orch = orchestrator(supervisor=think)
    orch.add_agent("a", obedient)
    handle = orch.spawn("a")
    first = pid(handle)
    reply = handle.deliver("raise")
    asked.wait()
    restarting = Aside(handle.restart)
    assert not restarting.done
    key = handle.info().instances[0].instance
    while handle._monitor._machine.instances[key].process.course is Course.SERVING:
        pass
    go.set()
    restarting.result()
    assert isinstance(reply.exception(), AgentFailure)
    assert pid(handle) != first
    assert (handle.generation, handle.info().restarts) == (2, 0)


def test_each_agent_has_the_policy_that_was_set_when_it_was_spawned(
    orchestrator: Orchestrator, obedient: Factory
) -> None:
    """Seed: `with_supervisor` is for agents spawned from now on."""
    orch = orchestrator()
    orch.add_agent("a", obedient)
    first = orch.spawn("a")
    orch.with_supervisor(DefaultSupervisor())
    second = orch.spawn("a")
    for handle in (first, second):
        assert isinstance(handle.deliver("die").exception(), AgentCrashed)
    first.wait()
    assert first.status() is AgentStatus.FAILED
    assert pid(second) == second.pid
    assert second.generation == 2
