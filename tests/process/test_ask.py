"""Agents that ask agents, through the parent, on real processes (N16)."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

import procorch
from procorch import (
    AgentCrashed,
    AgentError,
    AgentFailure,
    AgentOptions,
    AgentOrchestrator,
    AgentStopped,
    Cost,
    OrchestratedHandle,
    PluginError,
    RequestTimeout,
    Shutdown,
    SupervisorAction,
    ToolCallBlock,
    ToolResultMessage,
    Usage,
)
from procorch.supervision import notices
from tests.process.scenes import until

Orchestrator = Callable[..., AgentOrchestrator]
GateMaker = Callable[[], Any]
Factory = Callable[[], Any]

SHUTDOWN = Shutdown(cooperate=0.05, interrupt=30)


def asker(how: str = "sync") -> Factory:
    """An agent that asks ``name`` when it gets ``(name, message)``, and passes the answer on.

    Args:
        how: "sync", "async", or "thread": from a thread that the agent has started.
    """

    def factory():
        from concurrent.futures import ThreadPoolExecutor

        import procorch

        def ask(x):
            return procorch.current().ask(*x)

        async def ask_async(x):
            return await procorch.current().ask_async(*x)

        def ask_in_thread(x):
            with ThreadPoolExecutor(1) as thread:
                return thread.submit(ask, x).result()

        return {"sync": ask, "async": ask_async, "thread": ask_in_thread}[how]

    return factory


def answerer(tell: Callable[..., None] = print, wait: Callable[[], None] = print) -> Factory:
    """An agent that does what ``{"do": ...}`` says and answers with what it was told to say."""

    def factory():
        import os

        import procorch

        requests = []

        def handle(x):
            requests.append(x)
            match x.get("do"):
                case "raise":
                    raise ValueError("no idea")
                case "die":
                    os._exit(4)
                case "remaining":
                    return procorch.current().remaining()
                case "count":
                    return len(requests)
                case "work":
                    tell("working")
                    wait()
            return x.get("say")

        return handle

    return factory


def replace_the_dead(name: str, error: AgentError) -> SupervisorAction:
    """A policy for agents that may fail: errors are the asker's, deaths cost a process."""
    dead = isinstance(error, AgentCrashed)
    return SupervisorAction.RESTART if dead else SupervisorAction.ESCALATE


@pytest.fixture
def orch(gate: GateMaker, orchestrator: Orchestrator) -> AgentOrchestrator:
    return orchestrator(supervisor=replace_the_dead)


@pytest.fixture
def pair(orch: AgentOrchestrator) -> Callable[..., tuple[OrchestratedHandle, OrchestratedHandle]]:
    """An asker "a" and an answerer "b"."""

    def make(
        how: str = "sync", b: Factory | None = None, **settings: Any
    ) -> tuple[OrchestratedHandle, OrchestratedHandle]:
        orch.add_agent("a", asker(how), shutdown=SHUTDOWN)
        orch.add_agent("b", b or answerer(), shutdown=SHUTDOWN, **settings)
        handles = orch.spawn_all()
        return handles["a"], handles["b"]

    return make


def said(handle: OrchestratedHandle, request: Any, **options: Any) -> Any:
    return handle.deliver(request, **options).result().output


# ---- answers


@pytest.mark.parametrize("how", ["sync", "async", "thread"])
def test_an_agent_gets_the_answer_of_another_one(pair: Any, how: str) -> None:
    a, _ = pair(how)
    assert said(a, ("b", {"say": {"an": "object"}})) == {"an": "object"}
    big = bytes(3_000_000)
    assert said(a, ("b", {"say": big})) == big


def test_text_arrives_as_a_message_as_it_does_from_outside(pair: Any) -> None:
    a, _ = pair(b=lambda: lambda messages: [(type(m).__name__, m.text) for m in messages])
    assert said(a, ("b", "hello")) == [("UserMessage", "hello")]


def test_a_question_stands_in_the_queue_like_any_request(pair: Any, gate: GateMaker) -> None:
    begun, go = gate(), gate()
    a, b = pair(b=answerer(begun.tell, go.wait))
    work = b.deliver({"do": "work"})
    begun.line()
    before = b.deliver({"do": "count"})
    question = a.deliver(("b", {"do": "count"}))
    go.open()
    assert work.exception() is None
    assert (before.result().output, question.result().output) == (2, 3)


@pytest.mark.parametrize("how", ["async", "thread"])
def test_several_questions_may_be_open_at_once(orch: AgentOrchestrator, how: str) -> None:
    """N16: they are answered in any order, and each asker gets its own answer."""

    def factory():
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        import procorch

        async def all_async(names):
            ask = procorch.current().ask_async
            return await asyncio.gather(*(ask(name, {"say": name}) for name in names))

        def all_threads(names):
            ask = procorch.current().ask
            with ThreadPoolExecutor(len(names)) as pool:
                last = ask(names[-1], {"say": names[-1]})  # from the main thread as well
                return [*pool.map(lambda name: ask(name, {"say": name}), names[:-1]), last]

        return all_async if how == "async" else all_threads

    orch.add_agent("a", factory)
    names = [f"b{n}" for n in range(4)]
    for name in names:
        orch.add_agent(name, answerer())
    a = orch.spawn_all()["a"]
    assert said(a, names * 5) == names * 5


def test_a_question_passes_on_through_a_chain_of_agents(orch: AgentOrchestrator) -> None:
    for name in "abc":
        orch.add_agent(name, asker("async" if name == "b" else "sync"))
    orch.add_agent("d", answerer())
    a = orch.spawn_all()["a"]
    assert said(a, ("b", ("c", ("d", {"say": "far away"})))) == "far away"


# ---- errors


@pytest.mark.parametrize("how", ["sync", "async"])
def test_the_asker_gets_the_error_of_the_asked(orch: AgentOrchestrator, how: str) -> None:
    """N16: and if it does not handle it, so does who asked the asker."""
    asked = asker(how)

    def catching():
        import inspect

        ask = asked()

        async def handle(x):
            try:
                answer = ask(x)
                return await answer if inspect.isawaitable(answer) else answer
            except Exception as error:
                return type(error).__name__, str(error), type(error.__cause__).__name__

        return handle

    orch.add_agent("a", catching)
    orch.add_agent("naive", asker(how))
    orch.add_agent("b", answerer())
    handles = orch.spawn_all()
    assert said(handles["a"], ("b", {"do": "raise"})) == (
        "AgentFailure", "agent 'b' failed: ValueError: no idea", "ValueError",
    )  # fmt: skip
    kind, text, _ = said(handles["a"], ("b", {"do": "die"}))
    assert kind == "AgentCrashed"
    assert "agent 'b'" in text
    assert "exit code 4" in text

    error = handles["naive"].deliver(("b", {"do": "raise"})).exception()
    assert isinstance(error, AgentFailure)
    assert "ValueError: no idea" in str(error)


def test_an_agent_that_does_not_run_cannot_be_asked(pair: Any, orch: AgentOrchestrator) -> None:
    a, b = pair()
    for name in ("nobody", "b"):
        if name == "b":
            b.stop()
        error = a.deliver((name, {})).exception()
        assert isinstance(error, PluginError)
        assert f"agent {name!r} is not running" in str(error)


@pytest.mark.queue
def test_an_agent_that_ends_answers_who_still_asks(pair: Any, gate: GateMaker) -> None:
    """I1: a question in the queue of an agent that is cancelled."""
    begun, never = gate(), gate()
    a, b = pair(b=answerer(begun.tell, never.wait))
    busy = b.deliver({"do": "work"})
    begun.line()
    question = a.deliver(("b", {"say": "anybody there?"}))
    while b.info().queue < 1:
        pass
    b.cancel()
    error = question.exception()
    assert isinstance(error, AgentStopped)
    assert "agent reply dropped: agent 'b' ended CANCELLED" in str(error)
    assert busy.exception() is not None
    late = a.deliver(("b", {"say": "and now?"})).exception()
    assert isinstance(late, PluginError)
    assert late.agent in ("a", "b")


def test_a_question_that_cannot_be_sent_says_why(pair: Any) -> None:
    a, _ = pair()
    error = a.deliver(("b", {"say": Unloved()})).exception()
    assert "question to agent 'b': value['say']: cannot pickle '_thread.lock'" in str(error)


class Unloved:
    """Loads as something that cannot be sent on."""

    def __reduce__(self) -> Any:
        return threading.Lock, ()


# ---- deadlines


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_question_stands_under_what_is_left_of_the_askers_time(pair: Any, how: str) -> None:
    a, _ = pair(how)
    assert said(a, ("b", {"do": "remaining"})) is None
    assert 0 < said(a, ("b", {"do": "remaining"}), timeout=20) <= 20


def test_the_askers_own_limit_and_that_of_the_asked_both_count(pair: Any) -> None:
    a, _ = pair(request_timeout=10)
    assert 0 < said(a, ("b", {"do": "remaining"}), timeout=20) <= 10
    assert 0 < said(a, ("b", {"do": "remaining"}), timeout=5) <= 5
    assert 0 < said(a, ("b", {"do": "remaining"})) <= 10


@pytest.mark.parametrize("how", ["sync", "async"])
def test_the_deadline_of_the_asker_ends_the_question_too(
    pair: Any, gate: GateMaker, how: str
) -> None:
    begun, never = gate(), gate()
    a, b = pair(how, answerer(begun.tell, never.wait))
    pids = a.pid, b.pid
    reply = a.deliver(("b", {"do": "work"}), timeout=0.3)
    begun.line()
    assert isinstance(reply.exception(), RequestTimeout)
    assert said(b, {"do": "count"}) == 2
    assert said(a, ("b", {"do": "count"})) == 3
    assert (a.pid, b.pid) == pids


# ---- circles


def test_an_agent_that_asks_itself_is_refused(pair: Any) -> None:
    a, _ = pair()
    error = a.deliver(("a", {})).exception()
    assert isinstance(error, PluginError)
    assert "wait for each other for ever: 'a' -> 'a'" in str(error)
    assert said(a, ("b", {"say": "fine"})) == "fine"


def test_a_circle_of_agents_that_would_wait_for_each_other_is_refused_by_name(
    orch: AgentOrchestrator,
) -> None:
    for name in "abc":
        orch.add_agent(name, asker("async" if name == "b" else "sync"))
    orch.add_agent("d", answerer())
    handles = orch.spawn_all()
    error = handles["a"].deliver(("b", ("c", ("a", {})))).exception()
    assert isinstance(error, AgentError)
    assert "wait for each other for ever: 'c' -> 'a' -> 'b' -> 'c'" in str(error)
    # Nobody is left waiting, so the same agents may ask the other way round.
    assert said(handles["c"], ("b", ("a", ("d", {"say": "fine"})))) == "fine"


def test_two_that_ask_the_same_one_are_no_circle(orch: AgentOrchestrator) -> None:
    for name in "ab":
        orch.add_agent(name, asker())
    orch.add_agent("c", answerer())
    handles = orch.spawn_all()
    replies = [handles[name].deliver(("c", {"say": name})) for name in "ab" * 10]
    assert [reply.result().output for reply in replies] == list("ab" * 10)


# ---- the end of the asker


def test_the_question_of_an_asker_that_died_is_cancelled(
    pair: Any, orch: AgentOrchestrator, gate: GateMaker
) -> None:
    """N16: the asked one is free again, and keeps its process."""
    begun, never = gate(), gate()
    a, b = pair(b=answerer(begun.tell, never.wait))
    reply, pid = a.deliver(("b", {"do": "work"})), b.pid
    begun.line()
    stream = orch.monitor("b")
    os.kill(a.pid, signal.SIGKILL)
    assert isinstance(reply.exception(), AgentCrashed)
    assert said(b, {"do": "count"}) == 2
    done = until(stream, notices.RequestDone, "b")[-1]
    assert isinstance(done, notices.RequestDone)
    assert type(done.error).__name__ == "RequestCancelled"
    assert b.pid == pid
    assert said(a, ("b", {"do": "count"})) == 3  # the next asker counts its questions anew


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_cancelled_request_takes_its_question_along(pair: Any, gate: GateMaker, how: str) -> None:
    """N8, N16: both agents keep their processes, and nothing is left that waits."""
    begun, never = gate(), gate()
    a, b = pair(how, answerer(begun.tell, never.wait))
    pids = a.pid, b.pid
    for n in range(3):
        reply = a.deliver(("b", {"do": "work"}))
        begun.line()
        assert reply.cancel()
        assert said(b, {"do": "count"}) == 3 * n + 2
        assert said(a, ("b", {"do": "count"})) == 3 * n + 3
    assert (a.pid, b.pid) == pids


def test_an_asker_can_be_interrupted_while_another_thread_of_it_asks_as_well(
    orch: AgentOrchestrator, gate: GateMaker
) -> None:
    """N8: whichever of the two reads what the parent sends."""
    begun, never = gate(), gate()

    def factory():
        import os
        import threading

        import procorch

        ask = procorch.current().ask

        def handle(x):
            if x == "work":
                threading.Thread(target=lambda: ask("b", {"do": "work"}), daemon=True).start()
                ask("c", {"do": "work"})
            return os.getpid()

        return handle

    orch.add_agent("a", factory, shutdown=SHUTDOWN)
    for name in "bc":
        orch.add_agent(name, answerer(begun.tell, never.wait), shutdown=SHUTDOWN)
    a = orch.spawn_all()["a"]
    pid = a.pid
    reply = a.deliver("work")
    begun.line()
    begun.line()
    assert reply.cancel()
    assert said(a, "pid") == pid


def test_a_thread_gets_its_answer_while_the_agent_works_on_the_next_request(
    orch: AgentOrchestrator, gate: GateMaker
) -> None:
    """It asks while the main thread reads, and has to read itself when that has a request."""
    ask_now, begun, go, busy = gate(), gate(), gate(), gate()

    def factory():
        import threading

        import procorch

        answers = []

        def later():
            ask_now.wait()
            answers.append(procorch.current().ask("b", {"do": "work", "say": "done"}))

        thread = threading.Thread(target=later)

        def handle(x):
            if x == "start":
                thread.start()
                return None
            busy.tell("busy")
            thread.join()
            return answers

        return handle

    orch.add_agent("a", factory, shutdown=SHUTDOWN)
    orch.add_agent("b", answerer(begun.tell, go.wait), shutdown=SHUTDOWN)
    a = orch.spawn_all()["a"]
    said(a, "start")
    ask_now.open()
    begun.line()
    reply = a.deliver("wait")
    busy.line()
    go.open()
    assert reply.result().output == ["done"]


@pytest.mark.parametrize("how", ["sync", "async", "thread"])
def test_an_agent_that_waits_for_an_answer_leaves_when_it_is_cancelled(
    pair: Any, gate: GateMaker, how: str
) -> None:
    """N8: in its own time, and not only when it is made to."""
    begun, never = gate(), gate()
    a, _ = pair(how, answerer(begun.tell, never.wait))
    a.deliver(("b", {"do": "work"}))
    begun.line()
    a.cancel()
    a.wait()
    assert "exited with code 0" in str(a.info().last_exit)


# ---- what it took


def test_usage_and_cost_of_the_agents_that_tools_ask_are_summed_up_the_tree(
    orch: AgentOrchestrator,
) -> None:
    """Also of those who do not ask, and of an agent inside a tool; each is counted once."""

    def member(*others: str) -> Factory:
        def factory() -> AgentOptions:
            def turn(context: Any) -> Any:
                yield Usage(input=100, output=10)
                yield Cost(input=1.0)
                if context.tools and not isinstance(context.messages[-1], ToolResultMessage):
                    yield from (ToolCallBlock(it.__name__, it.__name__, {}) for it in tools)
                else:
                    yield "said"

            def consult() -> str:
                return " ".join(procorch.current().ask(name, "hm?").text for name in others)

            async def consult_beside() -> str:
                ask = procorch.current().ask_async
                answers = await asyncio.gather(*(ask(name, "?") for name in others))
                return " ".join(answer.text for answer in answers)

            async def think() -> str:
                return (await procorch.Agent(AgentOptions(stream_fn=turn)).respond("hm")).text

            tools = [consult, consult_beside, think] if others else []
            return AgentOptions(stream_fn=turn, tools=tools)

        return factory

    orch.add_agent("root", member("left", "right"))
    orch.add_agent("left", member("leaf"))
    orch.add_agent("right", member())
    orch.add_agent("leaf", member())
    agents = orch.spawn_all()
    leaf = agents["leaf"].send_message("go")
    assert (leaf.usage.output, leaf.cost.total) == (10, 1.0)
    # Two turns, one in a tool, and twice what it asks.
    for _ in range(2):
        left = agents["left"].send_message("go")
        assert (left.usage.input, left.usage.output, left.cost.total) == (500, 50, 5.0)
    root = agents["root"].send_message("go")
    assert (root.usage.output, root.cost.total) == (30 + 2 * (50 + 10), 15.0)


def test_what_a_handler_asks_is_what_it_returns(orch: AgentOrchestrator) -> None:
    """It may hand an answer on: nothing is added to that."""

    def knows(context: Any) -> Any:
        yield "said"
        yield Usage(input=100, output=10)

    orch.add_agent("a", lambda: lambda messages: procorch.current().ask("b", messages))
    orch.add_agent("b", lambda: AgentOptions(stream_fn=knows))
    assert orch.spawn_all()["a"].send_message("go").usage.output == 10
