"""Watching agents: typed events, sync and async, on real processes (N18)."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

import psutil
import pytest

from procorch import (
    AgentCrashed,
    AgentFailure,
    AgentOrchestrator,
    AgentStatus,
    Backoff,
    DefaultSupervisor,
    EventStream,
    ModelThrottled,
    PluginError,
    RequestTimeout,
    Shutdown,
    SupervisorAction,
)
from procorch.futures.watch import BACKLOG
from procorch.supervision import notices
from procorch.supervision.notices import (
    BackingOff,
    Crashed,
    Escalated,
    Lost,
    Notice,
    Ready,
    RequestDone,
    RequestStarted,
    Restarting,
    Starting,
    Stopped,
)
from tests.process.scenes import Aside, about, until

Orchestrator = Callable[..., AgentOrchestrator]
GateMaker = Callable[[], Any]
Factory = Callable[[], Any]


@pytest.fixture
def obedient() -> Factory:
    def factory():
        import os

        import procorch

        def handle(x):
            if x == "die":
                os._exit(3)
            if x == "raise":
                raise ValueError("boom")
            if x == "throttled":
                raise procorch.ModelThrottled("slow down")
            return x

        return handle

    return factory


@pytest.fixture
def orch(orchestrator: Orchestrator, obedient: Factory) -> AgentOrchestrator:
    """With an agent "a"."""
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", obedient, backoff=Backoff(initial=0.01, jitter=False))
    return orch


def kinds(seen: Iterable[Notice]) -> list[type[Notice]]:
    return [type(notice) for notice in seen]


# ---- what is told, and in which order


def test_a_life_is_told_in_order(orch: AgentOrchestrator) -> None:
    """N18: with the instance, the generation and the times of each event."""
    stream = orch.monitor("a")
    began, day = time.monotonic(), time.time()
    handle = orch.spawn("a")
    good = handle.deliver("hello")
    good.result()
    deadly = [handle.deliver("die") for _ in range(2)]
    errors = [reply.exception() for reply in deadly]
    last = handle.deliver("bye")
    last.result()
    handle.stop()
    seen = list(stream)

    story = [Starting, Ready, RequestStarted, RequestDone]
    story += [RequestStarted, Crashed, RequestDone, Restarting, Starting, Ready]
    story += [RequestStarted, Crashed, RequestDone, Restarting, BackingOff, Starting, Ready]
    story += [RequestStarted, RequestDone, Stopped]
    assert kinds(seen) == story
    assert {notice.agent for notice in seen} == {"a"}
    assert [notice.generation for notice in seen] == [1] * 8 + [2] * 7 + [3] * 5
    times = [began, *(notice.at for notice in seen), time.monotonic()]
    assert times == sorted(times)
    assert {notice.instance for notice in seen} == {0}
    assert all(day <= notice.time <= time.time() for notice in seen)

    requests = [n for n in seen if isinstance(n, RequestStarted | RequestDone)]
    numbers = [reply.request for reply in (good, *deadly, last)]
    assert [n.request for n in requests] == [n for number in numbers for n in (number, number)]
    assert [n.error for n in requests if isinstance(n, RequestDone)] == [None, *errors, None]
    assert [n.error for n in seen if isinstance(n, Crashed)] == errors
    restarts = [(n.counted, n.restart, n.max_restarts) for n in seen if isinstance(n, Restarting)]
    assert restarts == [(True, 1, 3), (True, 2, 3)]
    assert [n.delay for n in seen if isinstance(n, BackingOff)] == [0.01]
    end = seen[-1]
    assert isinstance(end, Stopped)
    assert (end.status, end.error) == (AgentStatus.STOPPED, None)


def test_a_failure_that_costs_the_process_is_no_crash(orch: AgentOrchestrator) -> None:
    """N18: the agent said itself what was wrong."""
    handle = orch.spawn("a")
    stream = orch.monitor("a")
    with pytest.raises(ModelThrottled):
        handle.deliver("throttled").result()
    assert kinds(until(stream, Ready, "a")) == [
        RequestStarted, RequestDone, Restarting, Starting, Ready,
    ]  # fmt: skip


def test_the_end_says_why(orch: AgentOrchestrator) -> None:
    """N18: the status and what `await_result` raises."""
    handle = orch.spawn("a")
    stream = orch.monitor("a")
    with pytest.raises(AgentFailure):
        handle.deliver("raise").result()
    end = list(stream)[-1]
    assert isinstance(end, Stopped)
    assert end.status is AgentStatus.FAILED
    with pytest.raises(PluginError) as caught:
        handle.await_result()
    assert end.error is caught.value


def test_an_escalation_goes_by_in_the_stream_of_the_orchestrator(
    orchestrator: Orchestrator, obedient: Factory
) -> None:
    """N6: with the path to the root."""
    orch = orchestrator(supervisor=lambda name, error: SupervisorAction.ESCALATE)
    orch.add_agent("top", obedient)
    orch.add_child("mid", "top", obedient)
    orch.add_child("leaf", "mid", obedient)
    handles = orch.spawn_tree("top")
    stream = orch.events()
    error = handles["leaf"].deliver("raise").exception()
    told = until(stream, Escalated, "leaf")[-1]
    assert isinstance(told, Escalated)
    assert isinstance(told.error, AgentFailure)
    assert str(told.error) == str(error)
    assert told.path == ("mid", "top")


@pytest.mark.queue
def test_a_request_that_never_left_the_queue_is_done_all_the_same(
    orch: AgentOrchestrator, gate: GateMaker
) -> None:
    """N18, I1: one end for each request that was accepted, without a start or a generation."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory():
        def handle(x):
            tell()
            wait()

        return handle

    orch.add_agent("busy", factory)
    handle = orch.spawn("busy")
    held = handle.deliver("hold")
    begun.line()
    stream = orch.monitor("busy")
    late = handle.submit(["late"], timeout=0.1)
    dropped = handle.deliver("dropped")
    dropped.cancel()
    assert isinstance(late.exception(), RequestTimeout)
    go.open()
    held.result()
    handle.stop()
    done = {n.request: n for n in stream if isinstance(n, RequestDone)}
    assert set(done) == {held.request, late.request, dropped.request}
    assert [done[r.request].generation for r in (held, late, dropped)] == [1, 0, 0]
    assert done[late.request].error is late.exception()
    assert type(done[dropped.request].error).__name__ == "RequestCancelled"


def test_a_question_of_another_agent_is_a_request_like_any_other(
    orch: AgentOrchestrator,
) -> None:
    """N16, N18."""

    def factory():
        import procorch

        return lambda x: procorch.current().ask("a", {"the": "question"})

    orch.add_agent("asker", factory)
    handles = orch.spawn_all()
    stream = orch.events()
    handles["asker"].deliver("go").result()
    seen = until(stream, RequestDone, "asker")
    assert [(type(n), n.agent) for n in seen] == [
        (RequestStarted, "asker"), (RequestStarted, "a"),
        (RequestDone, "a"), (RequestDone, "asker"),
    ]  # fmt: skip


def test_who_has_the_answer_finds_its_event_in_the_stream(orch: AgentOrchestrator) -> None:
    """N18: an event is there before the future is."""
    handle = orch.spawn("a")
    stream = orch.events()
    for n in range(50):
        handle.deliver(n).result()
    stream.close()
    assert len(about(RequestDone, stream)) == 50


# ---- streams


def test_every_reader_has_a_stream_of_its_own(orch: AgentOrchestrator, obedient: Factory) -> None:
    """N18: one agent's, or all agents'."""
    orch.add_agent("b", obedient)
    one, other, everything = orch.monitor("a"), orch.monitor("a"), orch.events()
    handles = orch.spawn_all()
    handles["b"].stop()
    handles["a"].stop()
    assert kinds(one) == kinds(other) == [Starting, Ready, Stopped]
    orch.close()
    assert [(n.agent, type(n)) for n in everything] == [
        ("a", Starting), ("a", Ready), ("b", Starting), ("b", Ready),
        ("b", Stopped), ("a", Stopped),
    ]  # fmt: skip


def test_the_stream_of_an_agent_that_has_ended_yields_its_end(orch: AgentOrchestrator) -> None:
    """N18: also when the orchestrator is closed; and a new life is a new story."""
    with pytest.raises(PluginError, match="not registered"):
        orch.monitor("nobody")
    handle = orch.spawn("a")
    handle.stop()
    assert kinds(orch.monitor("a")) == [Stopped]

    again = orch.spawn("a")
    stream = orch.monitor("a")
    again.cancel()
    end = list(stream)[-1]
    assert isinstance(end, Stopped)
    assert end.status is AgentStatus.CANCELLED

    orch.close()
    assert list(orch.monitor("a")) == [end]
    assert list(orch.events()) == []


def test_a_stream_ends_with_the_last_instance_of_its_agent(orch: AgentOrchestrator) -> None:
    first, second = orch.spawn("a"), orch.spawn("a")
    stream = orch.monitor("a")
    first.stop()
    assert kinds([next(stream)]) == [Stopped]
    second.deliver("still there").result()
    second.stop()
    assert kinds(stream) == [RequestStarted, RequestDone, Stopped]


def test_a_start_that_fails_is_told_too(orch: AgentOrchestrator) -> None:
    def factory():
        raise ValueError("never")

    orch.add_agent("b", factory)
    stream = orch.monitor("b")
    orch.spawn("b", wait=False).wait()
    seen = list(stream)
    assert kinds(seen) == [Starting, Stopped]
    assert isinstance(seen[1], Stopped)
    assert "never" in str(seen[1].error)


def test_a_reader_may_wait_and_may_be_told_to_stop(orch: AgentOrchestrator) -> None:
    """N18: from another thread; what was there before is still read."""
    orch.spawn("a").deliver("hello").result()
    stream = orch.events()
    reader = Aside(list, stream)
    orch.spawn("a")
    stream.close()
    stream.close()
    assert kinds(reader.result())[:2] in ([], [Starting], [Starting, Ready])
    assert list(stream) == []


def test_a_slow_reader_loses_the_oldest_events_and_is_told_how_many(
    orch: AgentOrchestrator,
) -> None:
    """N18: to the number; others lose nothing, and no request waits for a reader."""
    handle = orch.spawn("a")
    slow, quick = orch.monitor("a"), orch.monitor("a")
    counting = Aside(lambda: sum(1 for _ in quick))
    requests = BACKLOG
    for start in range(0, requests, 16):
        for reply in [handle.deliver(n) for n in range(start, start + 16)]:
            reply.result()
    handle.stop()
    total = 2 * requests + 1
    assert counting.result() == total

    lost, *rest = slow
    assert isinstance(lost, Lost)
    assert lost.count == total - BACKLOG
    assert len(rest) == BACKLOG
    assert isinstance(rest[-1], Stopped)
    assert (lost.agent, lost.at) == (rest[0].agent, rest[0].at)


def test_the_event_of_a_restart_comes_before_restart_returns(
    orch: AgentOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = orch.spawn("a")
    hub, waiting = orch.hub(), []
    publish = hub.publish

    def noted(notice: Notice) -> None:
        if isinstance(notice, Ready):
            waiting.extend(future.done() for _, future in handle._agent.instances[0].fresh)
        publish(notice)

    monkeypatch.setattr(hub, "publish", noted)
    handle.restart()
    assert waiting == [False]


def test_a_reader_that_catches_up_is_told_once(orch: AgentOrchestrator) -> None:
    """N18."""
    handle = orch.spawn("a")
    stream = orch.monitor("a")
    for start in range(0, BACKLOG, 16):
        for reply in [handle.deliver(n) for n in range(start, start + 16)]:
            reply.result()
    assert isinstance(next(stream), Lost)
    for _ in range(BACKLOG):
        assert isinstance(next(stream), RequestStarted | RequestDone)
    handle.stop()
    assert kinds(stream) == [Stopped]


# ---- async


def test_a_stream_can_be_read_by_a_coroutine(orch: AgentOrchestrator) -> None:
    """N18: the same events, without blocking the loop."""

    async def read(stream: EventStream) -> list[type[Notice]]:
        return [type(notice) async for notice in stream]

    async def main() -> tuple[list[type[Notice]], list[type[Notice]]]:
        streams = orch.monitor("a"), orch.events()
        readers = [asyncio.create_task(read(stream)) for stream in streams]
        handle = await asyncio.to_thread(orch.spawn, "a")
        await handle.submit(["hello"])
        await orch.aclose()
        return await readers[0], await readers[1]

    one, everything = asyncio.run(main())
    assert one == everything == [Starting, Ready, RequestStarted, RequestDone, Stopped]


def test_a_coroutine_that_gave_up_waiting_misses_nothing(orch: AgentOrchestrator) -> None:
    """N18: nor does the next event go to it."""

    async def main() -> list[type[Notice]]:
        stream = orch.monitor("a")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.__anext__(), 0.05)
        handle = await asyncio.to_thread(orch.spawn, "a")
        first = await stream.__anext__()
        await asyncio.to_thread(handle.stop)
        return [type(first), *[type(notice) async for notice in stream]]

    assert asyncio.run(main()) == [Starting, Ready, Stopped]


def test_the_loop_of_a_reader_may_end_before_the_stream(orch: AgentOrchestrator) -> None:
    """N18: the monitor does not mind."""

    async def main() -> EventStream:
        stream = orch.events()
        waiting = asyncio.ensure_future(stream.__anext__())
        await asyncio.sleep(0)
        waiting.cancel()
        return stream

    stream = asyncio.run(main())
    handle = orch.spawn("a")
    assert handle.deliver("hello").result().output == "hello"
    assert isinstance(next(stream), Starting)


# ---- the log


def test_events_are_logged_as_loud_as_they_are_serious(
    orch: AgentOrchestrator, caplog: pytest.LogCaptureFixture
) -> None:
    """N18: the logger "procorch", with the event itself for those who keep structured logs."""
    caplog.set_level(logging.DEBUG, "procorch")
    handle = orch.spawn("a")
    assert isinstance(handle.deliver("die").exception(), AgentCrashed)
    assert handle.deliver("hello").result().output == "hello"
    handle.deliver("raise").exception()
    handle.wait()
    orch.close()
    told = [(r.levelname, type(vars(r)["notice"])) for r in caplog.records if "notice" in vars(r)]
    assert told == [
        ("DEBUG", Starting), ("DEBUG", Ready), ("WARNING", Crashed), ("WARNING", Restarting),
        ("DEBUG", Starting), ("DEBUG", Ready), ("ERROR", Stopped),
    ]  # fmt: skip
    assert "agent 'a'" in caplog.text
    assert "crashed: exit code 3 on request" in caplog.text
    assert "agent 'a': restarting (1 of 3 since its last success)" in caplog.text
    assert "agent 'a' ended FAILED: plugin error (orchestrator)" in caplog.text


def test_a_process_whose_end_is_never_seen_is_reported_and_its_callers_are_released(
    orchestrator: Orchestrator, gate: GateMaker
) -> None:
    """N8, I5, N18: `Unreaped`. Whoever would reap it is stopped here, as it would be in a bad way.

    When it ends after all, that is not an event any more.
    """
    begun, never = gate(), gate()
    tell, wait = begun.tell, never.wait

    def factory():
        def handle(x):
            tell()
            wait()

        return handle

    orch = orchestrator(start_method="zygote")
    shutdown = Shutdown(cooperate=0, interrupt=0, terminate=0.1, kill=0.1)
    orch.add_agent("a", factory, shutdown=shutdown)
    handle = orch.spawn("a")
    stream = orch.monitor("a")
    reply = handle.deliver("work")
    begun.line()
    assert handle.pid is not None
    zygote = psutil.Process(handle.pid).ppid()
    os.kill(zygote, signal.SIGSTOP)
    try:
        os.kill(handle.pid, signal.SIGSTOP)
        handle.cancel()
        handle.wait()
    finally:
        os.kill(zygote, signal.SIGCONT)
    assert handle.status() is AgentStatus.CANCELLED
    assert reply.exception() is not None
    seen = [n for n in stream if not isinstance(n, RequestStarted | RequestDone)]
    assert kinds(seen) == [notices.Unreaped, Stopped]
    assert isinstance(seen[0], notices.Unreaped)
    assert seen[0].pid == handle.pid
    orch.close()
