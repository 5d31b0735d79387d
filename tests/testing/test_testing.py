"""What `procorch.testing` promises: all happens in order, in virtual time, as with processes.

No test here starts a process, and none of them waits in real time.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentError,
    AgentFailure,
    AgentHung,
    AgentOrchestrator,
    AgentStatus,
    AgentStopped,
    Backoff,
    DefaultSupervisor,
    Intensity,
    MailboxFull,
    PluginError,
    PoisonRequest,
    RequestCancelled,
    RequestTimeout,
    Shutdown,
    StartError,
    SupervisorAction,
    current,
)
from procorch.supervision import notices
from procorch.testing import (
    Delay,
    Die,
    Exit,
    FakeClock,
    FakeLauncher,
    Hang,
    Raise,
    Reply,
    ScriptedAgent,
    TestOrchestrator,
    die,
    sleep,
)

RESTART, STOP, ESCALATE = SupervisorAction.RESTART, SupervisorAction.STOP, SupervisorAction.ESCALATE
NO_BACKOFF = Backoff(initial=0)

Make = Callable[..., TestOrchestrator]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make orchestrators; every test leaves no thread of theirs behind."""
    before = set(threading.enumerate())
    made: list[TestOrchestrator] = []

    def begin(**settings: Any) -> TestOrchestrator:
        settings.setdefault("supervisor", DefaultSupervisor())
        made.append(TestOrchestrator(**settings))
        return made[-1]

    yield begin
    for each in made:
        each.close(drain=False)
    assert set(threading.enumerate()) - before == set()


def times(orch: TestOrchestrator, kind: type[notices.Notice], agent: str = "a") -> list[float]:
    return [e.at for e in orch.history if type(e) is kind and e.agent == agent]


def happened(orch: TestOrchestrator, *kinds: type[notices.Notice]) -> list[str]:
    return [f"{type(e).__name__} {e.agent}" for e in orch.history if type(e) in kinds]


def output(handle: Any, request: Any = "go", **given: Any) -> Any:
    return handle.deliver(request, **given).result().output


# ---- the clock


def test_time_stands_still_until_it_is_moved() -> None:
    clock = FakeClock()
    assert clock.now() == 0
    clock.advance(2.5)
    clock.advance("5m")
    assert clock.now() == 302.5
    with pytest.raises(ValueError, match="negative"):
        clock.advance(-1)


def test_a_crash_loop_over_virtual_minutes_takes_real_milliseconds(make: Make) -> None:
    orch = make(max_restarts=12)
    agent = ScriptedAgent(starts=[None, *[Die("SIGSEGV")] * 20])
    orch.add_agent("a", agent, backoff=Backoff(initial=1, cap=60, jitter=False))
    began = time.perf_counter()
    handle = orch.spawn("a")
    orch.launcher.kill("a")
    orch.clock.advance("10m")
    assert time.perf_counter() - began < 2

    assert handle.status() is AgentStatus.FAILED
    at_once, doubling, capped = [0, 0], [1, 3, 7, 15, 31], [63, 123, 183, 243, 303, 363]
    assert times(orch, notices.Starting) == at_once + doubling + capped
    assert times(orch, notices.Stopped) == [363]
    assert orch.clock.now() == 600


def test_nothing_happens_before_its_time(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent(), backoff=Backoff(initial=10, jitter=False))
    handle = orch.spawn("a")
    orch.launcher.kill("a")
    orch.launcher.kill("a")
    orch.clock.advance(9.999)
    assert (handle.generation, orch.launcher.alive()) == (2, [])
    orch.clock.advance(0.001)
    assert (handle.generation, orch.launcher.alive()) == (3, ["a"])


@pytest.mark.parametrize(("chance", "delay"), [(1.0, 8.0), (0.25, 2.0), (lambda: 0.5, 4.0)])
def test_chance_comes_from_the_test(make: Make, chance: Any, delay: float) -> None:
    orch = make(chance=chance)
    orch.add_agent("a", ScriptedAgent(), backoff=Backoff(initial=8))
    orch.spawn("a")
    orch.launcher.kill("a")
    orch.launcher.kill("a")
    orch.clock.advance(20)
    assert times(orch, notices.Starting) == [0, 0, delay]


def test_whoever_waits_for_an_outcome_lets_time_pass(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent([Delay(3600), "late"], starts=[Delay(30)]))
    handle = orch.spawn("a")
    assert orch.clock.now() == 30
    assert output(handle) == "late"
    assert orch.clock.now() == 3630


def test_run_until_goes_from_one_thing_that_is_due_to_the_next(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent([Delay(5), "x", Delay(5), "y"]))
    handle = orch.spawn("a")
    first, second = handle.deliver(1), handle.deliver(2)
    orch.clock.run_until(first)
    assert (orch.clock.now(), first.done(), second.done()) == (5, True, False)
    orch.clock.run_until(lambda: second.done())
    assert orch.clock.now() == 10
    with pytest.raises(TimeoutError, match="nothing more is due"):
        orch.clock.run_until(lambda: False)
    assert orch.clock.now() == 10


def test_a_result_may_be_waited_for_in_virtual_time(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent([Delay(100), "late"]))
    reply = orch.spawn("a").deliver("go")
    with pytest.raises(TimeoutError):
        reply.result(timeout=40)
    assert orch.clock.now() == 40
    assert reply.result(timeout=60).output == "late"


def test_waiting_for_what_can_never_come_is_an_error(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent([Hang()]))
    reply = orch.spawn("a").deliver("go")
    with pytest.raises(TimeoutError, match="would wait for ever"):
        reply.result()


def test_who_blocks_for_real_is_named(make: Make) -> None:
    orch = make(clock=FakeClock(patience=2.0))
    orch.add_agent("blocked", lambda: lambda x: blocking.wait())
    reply = orch.spawn("blocked").deliver("go")
    with pytest.raises(TimeoutError, match="agent 'blocked' did not pause"):
        orch.clock.settle()
    blocking.set()
    assert reply.result().output is True


blocking = threading.Event()


def test_the_wall_clock_means_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    orch = make()
    agent = ScriptedAgent([Delay(9), "in time", Hang()])
    orch.add_agent("a", agent, request_timeout=10, heartbeat_timeout=9.9)
    handle = orch.spawn("a")
    jumps = itertools.count(time.monotonic(), 365 * 86400)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(jumps)))
    reply = handle.submit("go")
    orch.clock.advance(8)
    assert not reply.done()
    assert reply.result().output == "in time"
    assert reply.result().metrics.wall == 9
    with pytest.raises(RequestTimeout):
        handle.submit("go").result()
    assert orch.clock.now() == 19


def test_the_same_test_is_the_same_history(make: Make) -> None:
    def run() -> list[notices.Notice]:
        orch = make(max_restarts=50, start_limit=2)
        for index, name in enumerate("abcdef"):
            steps = [Delay(index / 3), "x", Die(), Delay(1), Exit(3), "y"]
            orch.add_agent(name, ScriptedAgent(steps, repeat=True))
        handles = list(orch.spawn_all().values())
        for handle in handles * 6:
            handle.deliver("go")
            orch.clock.settle()
        orch.clock.advance(100)
        orch.close()
        return orch.history

    def told(history: list[notices.Notice]) -> list[tuple[Any, ...]]:
        return [(e.at, e.agent, e.generation, type(e)) for e in history]

    first = told(run())
    assert len(first) > 100
    assert told(run()) == first


def test_a_hundred_agents_in_a_crash_loop(make: Make) -> None:
    orch = make(max_restarts=1000)
    for number in range(100):
        orch.add_agent(f"a{number}", ScriptedAgent(starts=[None, *[Die()] * 1000]))
    handles = orch.spawn_all()
    for name in handles:
        orch.launcher.kill(name)
    orch.clock.advance("5m")
    assert orch.launcher.starts("a0") == orch.launcher.starts("a99") > 10
    assert {handle.info().state for handle in handles.values()} == {"BACKOFF"}


# ---- death on command


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGSEGV", "SIGTERM", "SIGABRT"])
def test_a_killed_worker_fails_its_request_by_name(make: Make, signal: str) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent([Hang(), "again"]))
    handle = orch.spawn("a")
    reply = handle.deliver("go")
    orch.launcher.kill("a", signal)
    with pytest.raises(AgentCrashed, match=f"'a'.*{signal}") as caught:
        reply.result()
    error = caught.value
    assert (error.agent, error.signal, error.exitcode) == ("a", signal, None)
    assert (error.generation, error.request) == (1, reply.request)
    assert error.may_have_executed
    assert output(handle) == "again"
    assert handle.generation == 2


def test_an_exit_in_the_middle_of_a_request_is_a_crash(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent([Exit(0), Hang()]))
    handle = orch.spawn("a")
    with pytest.raises(AgentCrashed) as caught:
        output(handle)
    assert (caught.value.exitcode, caught.value.signal) == (0, None)
    reply = handle.deliver("go")
    orch.launcher.exit("a", 7)
    with pytest.raises(AgentCrashed) as caught:
        reply.result()
    assert caught.value.exitcode == 7


def test_an_idle_death_is_seen_at_once(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent())
    handle = orch.spawn("a")
    orch.launcher.kill("a")
    assert handle.generation == 2
    (error,) = [e.error for e in orch.history if isinstance(e, notices.Crashed)]
    assert error.request is None
    assert not error.may_have_executed


def test_a_worker_dies_at_the_request_it_is_told(make: Make) -> None:
    orch = make()
    orch.add_agent("a", lambda: lambda x: x)
    orch.launcher.die_at("a", 3, "SIGBUS")
    handle = orch.spawn("a")
    assert [output(handle, n) for n in (1, 2)] == [1, 2]
    with pytest.raises(AgentCrashed, match="SIGBUS") as caught:
        output(handle, 3)
    assert caught.value.may_have_executed
    assert [output(handle, n) for n in range(4, 10)] == list(range(4, 10))


def test_each_worker_dies_at_the_request_it_is_told(make: Make) -> None:
    orch = make()
    orch.add_agent("a", lambda: lambda x: x, retries=1, backoff=NO_BACKOFF)
    orch.launcher.die_at("a", 3, each_worker=True)
    handle = orch.spawn("a")
    assert [output(handle, n) for n in range(7)] == list(range(7))
    assert handle.generation == 4


def test_a_dropped_stream_ends_the_worker_that_lives_on(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent([Hang(), "again"]))
    handle = orch.spawn("a")
    reply = handle.deliver("go")
    orch.launcher.drop("a")
    assert not reply.done()
    with pytest.raises(AgentCrashed, match="closed its socket and did not exit"):
        reply.result()
    assert orch.clock.now() == 1
    assert output(handle) == "again"


def test_an_instance_is_told_by_its_pid(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent(), instances=3)
    agent = orch.spawn("a")
    second = agent.info().instances[1].pid
    assert second is not None
    orch.launcher.kill(second)
    assert [row.generation for row in agent.info().instances] == [1, 2, 1]


def test_commands_need_a_live_worker(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent())
    orch.add_agent("b", ScriptedAgent())
    orch.spawn("b")
    with pytest.raises(LookupError, match=r"no worker of 'a' is alive; alive: \['b'\]"):
        orch.launcher.kill("a")
    with pytest.raises(ValueError, match="'SIGNONE' is not the name of a signal"):
        orch.launcher.kill("b", "SIGNONE")


def test_a_start_can_be_refused_by_the_system(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent(), backoff=NO_BACKOFF)
    orch.launcher.fail_start("a", reason="out of processes")
    with pytest.raises(StartError, match="out of processes"):
        orch.spawn("a")
    handle = orch.spawn("a")
    orch.launcher.fail_start("a", times=2)
    orch.launcher.kill("a")
    assert handle.generation == 4
    assert orch.launcher.starts("a") == 5


def test_a_factory_that_fails_a_slow_one_and_one_that_dies(make: Make) -> None:
    orch = make()
    script = [Raise(ValueError("no model")), Hang(), Die("SIGSEGV"), Delay(5), None]
    orch.add_agent("a", ScriptedAgent(["hi"], starts=script), start_timeout=20)
    with pytest.raises(StartError, match="no model"):
        orch.spawn("a")
    with pytest.raises(StartError, match="not ready within 20 s"):
        orch.spawn("a")
    assert orch.clock.now() == 20
    with pytest.raises(StartError, match="SIGSEGV while it was starting"):
        orch.spawn("a")
    assert output(orch.spawn("a")) == "hi"
    assert orch.clock.now() == 25


# ---- limits


def test_a_retried_request_is_poison_after_its_allowed_deaths(make: Make) -> None:
    orch = make(max_restarts=20)
    agent = ScriptedAgent([Die(), Die(), "well", Die("SIGSEGV"), Die(), Die(), "next"])
    orch.add_agent("a", agent, retries=5, allowed_failures=2, backoff=NO_BACKOFF)
    handle = orch.spawn("a")
    assert output(handle, "two deaths") == "well"
    poison, behind = handle.deliver("three deaths"), handle.deliver("behind it")
    with pytest.raises(PoisonRequest) as caught:
        poison.result()
    assert [death.signal for death in caught.value.deaths] == ["SIGSEGV", "SIGKILL", "SIGKILL"]
    assert behind.result().output == "next"
    assert agent.requests == ["two deaths"] * 3 + ["three deaths"] * 3 + ["behind it"]
    assert agent.started == handle.generation == 6


def test_the_intensity_window_has_both_its_ends(make: Make) -> None:
    def deaths_at(*moments: float) -> AgentStatus:
        orch = make(max_restarts=100)
        orch.add_agent(
            "a", ScriptedAgent(), intensity=Intensity(restarts=2, period=10), backoff=NO_BACKOFF
        )
        handle = orch.spawn("a")
        for moment in moments:
            orch.clock.advance(moment - orch.clock.now())
            orch.launcher.kill("a")
        return handle.status()

    assert deaths_at(0, 5, 10.001) is AgentStatus.RUNNING
    assert deaths_at(0, 5, 10) is AgentStatus.FAILED


def test_a_backoff_starts_over_after_a_time_of_readiness(make: Make) -> None:
    orch = make(max_restarts=10)
    backoff = Backoff(initial=4, jitter=False, reset_after=60)
    orch.add_agent("a", ScriptedAgent(), backoff=backoff)
    orch.spawn("a")
    orch.launcher.kill("a")
    orch.clock.advance(59.5)
    orch.launcher.kill("a")
    orch.clock.advance(4 + 60)
    orch.launcher.kill("a")
    assert times(orch, notices.Starting) == [0, 0, 63.5, 123.5]


def test_a_hung_agent_is_found_by_its_heartbeat_with_its_stack(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent([Hang("SIGKILL"), "again"]), heartbeat_timeout=8)
    handle = orch.spawn("a")
    reply = handle.deliver("go")
    orch.clock.advance(7.9)
    assert handle.info().state == "BUSY"
    with pytest.raises(AgentHung) as caught:
        reply.result()
    assert 8 <= orch.clock.now() <= 10.5
    assert caught.value.signal == "SIGKILL"
    assert "in hang" in caught.value.last_stack
    assert len(times(orch, notices.Hung)) == 1
    assert output(handle) == "again"


def test_a_stopped_worker_that_answers_when_it_is_continued_was_not_hung(make: Make) -> None:
    orch = make()
    orch.add_agent("a", lambda: lambda x: x, heartbeat_timeout=8)
    handle = orch.spawn("a")
    orch.launcher.kill("a", "SIGSTOP")
    assert handle.deliver("go").result().text == "go"
    assert (handle.generation, times(orch, notices.Hung)) == (1, [])


def test_a_worker_that_hangs_is_found_hung(make: Make) -> None:
    orch = make()
    orch.add_agent("a", lambda: lambda x: x, heartbeat_timeout=8)
    handle = orch.spawn("a")
    orch.launcher.hang("a")
    with pytest.raises(AgentHung):
        output(handle)
    assert output(handle) == "go"


def test_a_stopped_worker_that_goes_on_again_is_as_it_was(make: Make) -> None:
    orch = make()
    orch.add_agent("a", lambda: lambda x: x)
    handle = orch.spawn("a")
    orch.launcher.hang("a")
    reply = handle.deliver("go")
    orch.clock.advance(100)
    assert not reply.done()
    orch.launcher.kill("a", "SIGCONT")
    assert reply.result().output == "go"
    assert handle.generation == 1


def test_progress_keeps_the_heartbeat_going(make: Make) -> None:
    def factory() -> Any:
        def handle(steps: int) -> str:
            for _ in range(steps):
                sleep(5)
                current().progress()
            return "done"

        return handle

    orch = make()
    orch.add_agent("a", factory, heartbeat_timeout=8)
    assert output(orch.spawn("a"), 10) == "done"
    assert orch.clock.now() == 50


# ---- requests and the ladder


@pytest.mark.parametrize(
    ("until", "ended_after", "generation"),
    [("cancel", 0, 1), ("interrupt", 1, 1), ("SIGTERM", 1 + 2, 2), ("SIGKILL", 1 + 2 + 4, 2)],
)
def test_a_request_out_of_time_goes_up_the_ladder_as_far_as_needed(
    make: Make, until: str, ended_after: float, generation: int
) -> None:
    orch = make()
    times = Shutdown(cooperate=1, interrupt=2, terminate=4)
    orch.add_agent("a", ScriptedAgent([Hang(until), "next"]), shutdown=times)
    handle = orch.spawn("a")
    with pytest.raises(RequestTimeout):
        output(handle, timeout=10)
    assert orch.clock.now() == 10
    assert output(handle) == "next"
    assert orch.clock.now() == 10 + ended_after
    assert handle.generation == generation
    assert handle.info().restarts == 0


def test_a_worker_that_outlives_sigkill_is_reported(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent([Hang("SIGKILL")]))
    orch.launcher.ignore("a", "SIGTERM", "SIGKILL")
    handle = orch.spawn("a")
    handle.deliver("go")
    orch.clock.settle()
    handle.cancel()
    handle.wait()
    assert len(times(orch, notices.Unreaped)) == 1
    assert orch.launcher.alive() == ["a"]


def test_a_cancelled_future_leaves_the_worker_alive(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent([Hang(), "next"]))
    handle = orch.spawn("a")
    reply = handle.deliver("go")
    orch.clock.settle()
    assert reply.cancel()
    with pytest.raises(RequestCancelled):
        reply.result()
    assert output(handle) == "next"
    assert handle.generation == 1


def test_time_in_the_queue_counts(make: Make) -> None:
    orch = make()
    agent = ScriptedAgent([Delay(10), "first", "third"])
    orch.add_agent("a", agent)
    handle = orch.spawn("a")
    first = handle.submit("1")
    second, third = handle.submit([2], timeout=9), handle.submit([3], timeout=11)
    with pytest.raises(RequestTimeout):
        second.result()
    assert orch.clock.now() == 9
    assert (first.result().output, third.result().output) == ("first", "third")
    assert third.result().metrics.queued == 10
    assert len(agent.requests) == 2


def test_a_sender_waits_for_a_place_in_virtual_time(make: Make) -> None:
    orch = make(channel_buffer=1)
    orch.add_agent("a", ScriptedAgent([Delay(50), 1, Delay(50), 2, 3, 4]))
    handle = orch.spawn("a")
    handle.submit([1])
    orch.clock.settle()
    handle.submit([2])
    with pytest.raises(MailboxFull):
        handle.submit([0], wait=False)
    with pytest.raises(RequestTimeout):
        handle.submit([0], timeout=20).result()
    assert orch.clock.now() == 20
    assert handle.submit([3]).result().output == 3
    assert orch.clock.now() == 100


def test_the_remaining_time_of_a_request_is_virtual(make: Make) -> None:
    def factory() -> Any:
        def handle(x: object) -> float | None:
            sleep(4)
            return current().remaining()

        return handle

    orch = make()
    orch.add_agent("a", factory)
    assert output(orch.spawn("a"), timeout=10) == 6


def test_results_errors_and_messages_are_what_they_are_with_processes(make: Make) -> None:
    orch = make(supervisor=lambda name, error: ESCALATE)
    orch.add_agent("a", ScriptedAgent([Reply({"x": [1]}), Raise(KeyError("k")), print, "text"]))
    handle = orch.spawn("a")
    assert output(handle) == {"x": [1]}
    with pytest.raises(AgentFailure, match="KeyError") as caught:
        output(handle)
    assert isinstance(caught.value.__cause__, KeyError)
    assert output(handle) is None
    result = handle.send_message("hello")
    assert result.text == result.output == "text"
    with pytest.raises(AgentFailure, match="no step left"):
        output(handle)


def test_what_cannot_be_sent_is_refused_as_with_processes(make: Make) -> None:
    orch = make(max_message=1000)
    orch.add_agent("a", lambda: lambda x: b"x" * 5000 if x == "large" else threading.Lock())
    handle = orch.spawn("a")
    for request, why in (("lock", "cannot pickle"), ("large", "5,?0")):
        with pytest.raises(AgentError, match=why):
            output(handle, request)
    assert handle.generation == 1
    generator = (n for n in range(3))
    with pytest.raises(AgentError, match="closure variable 'generator'"):
        orch.add_agent("b", lambda: lambda x: generator)


# ---- trees


@pytest.mark.parametrize(
    ("strategy", "restarted"),
    [("one_for_one", "b"), ("one_for_all", "abc"), ("rest_for_one", "bc")],
)
def test_a_group_is_restarted_in_order(make: Make, strategy: str, restarted: str) -> None:
    orch = make()
    orch.add_agent("root", ScriptedAgent(), strategy=strategy)
    for name in "abc":
        orch.add_child(name, "root", ScriptedAgent())
    orch.spawn_tree("root")
    events = orch.events()
    orch.launcher.kill("b")
    orch.close()
    began = [e.agent for e in events if isinstance(e, notices.Starting)]
    assert began == list(restarted)
    assert happened(orch, notices.Stopped)[-4:] == [f"Stopped {n}" for n in ("c", "b", "a", "root")]


def test_a_sibling_s_request_fails_by_the_name_of_who_failed(make: Make) -> None:
    orch = make()
    orch.add_agent("root", ScriptedAgent(), strategy="one_for_all")
    orch.add_child("a", "root", ScriptedAgent([Hang()]))
    orch.add_child("b", "root", ScriptedAgent())
    handles = orch.spawn_tree("root")
    reply = handles["a"].deliver("go")
    orch.launcher.kill("b")
    with pytest.raises(AgentCrashed) as caught:
        reply.result()
    assert caught.value.cause == "b"


def test_a_shutdown_waits_for_each_in_its_turn(make: Make) -> None:
    orch = make()
    orch.add_agent("root", ScriptedAgent())
    orch.add_child("a", "root", ScriptedAgent([Delay(3), "done"]), link="stop")
    orch.add_child("b", "root", ScriptedAgent([Delay(2), "done"]), link="stop")
    handles = orch.spawn_tree("root")
    replies = [handles[name].deliver("go") for name in "ab"]
    orch.stop("root")
    assert [reply.result().output for reply in replies] == ["done", "done"]
    assert [times(orch, notices.Stopped, name) for name in ("b", "a", "root")] == [[2], [3], [3]]
    assert orch.launcher.alive() == []


def test_a_close_kills_at_its_deadline(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent([Hang("SIGKILL")]))
    handle = orch.spawn("a")
    reply = handle.deliver("go")
    orch.clock.settle()
    orch.close(timeout=12)
    assert orch.clock.now() == 12
    assert reply.exception() is not None
    assert handle.status() is AgentStatus.STOPPED
    with pytest.raises(AgentStopped):
        orch.spawn("a")


def test_an_escalation_asks_about_the_parent(make: Make) -> None:
    asked: list[tuple[str, str]] = []

    class Policy:
        def on_agent_error(self, name: str, error: AgentError) -> SupervisorAction:
            return ESCALATE

        def on_child_escalation(self, parent: str, child: str, error: AgentError) -> Any:
            asked.append((parent, child))
            return RESTART

    orch = make(supervisor=Policy())
    orch.add_agent("root", ScriptedAgent())
    orch.add_child("a", "root", ScriptedAgent([Raise(ValueError())]))
    handles = orch.spawn_tree("root")
    with pytest.raises(AgentFailure):
        output(handles["a"])
    orch.clock.settle()
    assert asked == [("root", "a")]
    assert (handles["root"].generation, handles["a"].generation) == (2, 1)


def test_an_agent_is_recycled_after_its_time_and_its_requests(make: Make) -> None:
    orch = make()
    orch.add_agent("old", lambda: lambda x: x, max_age=60)
    orch.add_agent("used", lambda: lambda x: x, max_requests=2)
    handles = orch.spawn_all()
    orch.clock.advance(61)
    assert (handles["old"].generation, handles["used"].generation) == (2, 1)
    for _ in range(3):
        output(handles["used"])
    assert handles["used"].generation == 2
    assert handles["used"].info().restarts == 0


def test_a_restart_on_request_is_not_counted(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent([Delay(2), "x"], starts=[None, Delay(7)]))
    handle = orch.spawn("a")
    orch.restart("a")
    assert (handle.generation, handle.info().restarts, orch.clock.now()) == (2, 0, 7)


# ---- ordinary agents


def test_an_ordinary_agent_runs_in_a_thread_of_the_test(make: Make) -> None:
    def factory() -> Any:
        seen = []

        def handle(x: object) -> Any:
            seen.append(x)
            return current().agent, current().generation, len(seen), threading.get_ident()

        return handle

    orch = make()
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    assert output(handle)[:3] == ("a", 1, 1)
    *known, thread = output(handle)
    assert known == ["a", 1, 2]
    assert thread != threading.get_ident()
    orch.launcher.kill("a")
    assert output(handle)[:3] == ("a", 2, 1)
    with pytest.raises(RuntimeError, match="outside a worker"):
        current()


def test_an_agent_can_die_of_itself(make: Make) -> None:
    orch = make()
    orch.add_agent("a", lambda: lambda x: die(x), backoff=NO_BACKOFF)
    handle = orch.spawn("a")
    for how, known in (("SIGFPE", ("SIGFPE", None)), (9, (None, 9))):
        with pytest.raises(AgentCrashed) as caught:
            output(handle, how)
        assert (caught.value.signal, caught.value.exitcode) == known


def test_an_agent_that_catches_everything_dies_all_the_same(make: Make) -> None:
    def factory() -> Any:
        def handle(x: object) -> str:
            for _ in range(3):
                try:
                    sleep(1)
                except BaseException:
                    continue
            return "still here"

        return handle

    orch = make()
    orch.add_agent("a", factory)
    reply = orch.spawn("a").deliver("go")
    orch.launcher.kill("a")
    with pytest.raises(AgentCrashed):
        reply.result()


def test_an_async_agent_sleeps_in_virtual_time(make: Make) -> None:
    def factory() -> Any:
        async def handle(x: float) -> float:
            began = asyncio.get_running_loop().time()
            await asyncio.gather(asyncio.sleep(x), asyncio.sleep(2 * x))
            return asyncio.get_running_loop().time() - began

        return handle

    orch = make()
    orch.add_agent("a", factory)
    assert output(orch.spawn("a"), 1800) == 3600
    assert orch.clock.now() == 3600


def test_an_async_agent_is_cancelled_as_its_request_is(make: Make) -> None:
    def factory() -> Any:
        seen = []

        async def handle(x: Any) -> Any:
            if x == "seen":
                return seen
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                seen.append("cancelled")
                if x == "obstinate":
                    await asyncio.sleep(3600)
            return None

        return handle

    orch = make()
    orch.add_agent("a", factory, shutdown=Shutdown(cooperate=1))
    handle = orch.spawn("a")
    for request, later in (("meek", 0), ("obstinate", 1)):
        before = orch.clock.now()
        with pytest.raises(RequestTimeout):
            output(handle, request, timeout=5)
        output(handle, "seen")
        assert orch.clock.now() == before + 5 + later
    assert output(handle, "seen") == ["cancelled"] * 2
    assert handle.generation == 1


def test_an_async_agent_that_is_killed_leaves_nothing(make: Make) -> None:
    def factory() -> Any:
        async def handle(x: object) -> None:
            background = asyncio.ensure_future(asyncio.sleep(7200))
            await asyncio.to_thread(sleep, 3600)
            await background

        return handle

    orch = make()
    orch.add_agent("a", factory)
    reply = orch.spawn("a").deliver("go")
    orch.clock.advance(60)
    orch.launcher.kill("a", "SIGSEGV")
    with pytest.raises(AgentCrashed, match="SIGSEGV"):
        reply.result()


def test_threads_of_an_async_agent_take_part_in_virtual_time(make: Make) -> None:
    def factory() -> Any:
        def slow(x: float) -> float:
            sleep(x)
            return x

        async def handle(x: float) -> Any:
            return await asyncio.gather(*(asyncio.to_thread(slow, x * n) for n in range(5)))

        return handle

    orch = make()
    orch.add_agent("a", factory)
    assert output(orch.spawn("a"), 10) == [0, 10, 20, 30, 40]
    assert orch.clock.now() == 40


def test_agents_ask_agents(make: Make) -> None:
    def asking() -> Any:
        async def handle(x: Any) -> Any:
            if x == "sync":
                return current().ask("answerer", x)
            return await current().ask_async(x, "async")

        return handle

    orch = make()
    orch.add_agent("asker", asking)
    orch.add_agent("answerer", ScriptedAgent([Delay(3), "one", Delay(4), "two"]))
    handles = orch.spawn_all()
    assert output(handles["asker"], "sync") == "one"
    assert output(handles["asker"], "answerer") == "two"
    assert orch.clock.now() == 7
    with pytest.raises(PluginError, match="wait for each other"):
        output(handles["asker"], "asker")


def test_a_checkpoint_is_there_after_a_death(make: Make) -> None:
    def factory() -> Any:
        restored = current().restored

        def handle(x: Any) -> Any:
            current().checkpoint({"last": x})
            return restored

        return handle

    orch = make()
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    assert output(handle, 1) is None
    orch.launcher.kill("a")
    assert output(handle, 2) == {"last": 1}


def test_an_agent_that_is_finished_ends_in_order(make: Make) -> None:
    def factory() -> Any:
        def handle(x: Any) -> str:
            current().finish()
            return "bye"

        return handle

    orch = make()
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    assert output(handle) == "bye"
    handle.wait()
    assert handle.status() is AgentStatus.COMPLETED


# ---- the user's code beside agents


def test_a_policy_may_wait_for_an_agent(make: Make) -> None:
    def policy(name: str, error: AgentError) -> SupervisorAction:
        return output(orch.handle("adviser"))

    orch = make(supervisor=policy)
    orch.add_agent("adviser", ScriptedAgent([Delay(60), RESTART]))
    orch.add_agent("a", ScriptedAgent([Die(), "again"]))
    handles = orch.spawn_all()
    first, second = handles["a"].deliver(1), handles["a"].deliver(2)
    with pytest.raises(AgentCrashed):
        first.result()
    assert orch.clock.now() == 60
    assert second.result().output == "again"


def test_a_callback_has_run_when_the_clock_has_settled(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent([Delay(1), "x", Delay(1), "y"]))
    handle = orch.spawn("a")
    seen: list[Any] = []

    def then(reply: Any) -> None:
        seen.append(reply.result().output)
        seen.append(handle.deliver("more").result(timeout=5).output)

    handle.deliver("go").add_done_callback(then)
    orch.clock.advance(1)
    assert seen == ["x"]
    orch.clock.advance(1)
    assert seen == ["x", "y"]


def test_a_policy_cannot_move_the_clock(make: Make) -> None:
    faults: list[BaseException] = []

    def policy(name: str, error: AgentError) -> SupervisorAction:
        try:
            orch.clock.advance(1)
        except RuntimeError as fault:
            faults.append(fault)
        return STOP

    orch = make(supervisor=policy)
    orch.add_agent("a", ScriptedAgent([Die()]))
    with pytest.raises(AgentCrashed):
        output(orch.spawn("a"))
    assert "the test moves it" in str(faults[0])


def test_a_policy_that_misbehaves_stops_its_agent_alone(make: Make) -> None:
    orch = make(supervisor=lambda name, error: 1 / 0)
    orch.add_agent("a", ScriptedAgent([Die()]))
    orch.add_agent("b", ScriptedAgent(["fine"]))
    handles = orch.spawn_all()
    with pytest.raises(AgentCrashed):
        output(handles["a"])
    orch.clock.settle()
    assert handles["a"].status() is AgentStatus.FAILED
    assert output(handles["b"]) == "fine"


def test_an_awaited_reply_comes_when_the_test_has_let_time_pass(make: Make) -> None:
    orch = make()
    orch.add_agent("a", ScriptedAgent([Delay(5), "x"]))
    handle = orch.spawn("a")

    async def main() -> Any:
        reply = handle.deliver("go")
        orch.clock.advance(5)
        return await reply

    assert asyncio.run(main()).output == "x"


# ---- a launcher and a clock of one's own


def test_two_orchestrators_share_a_clock(make: Make) -> None:
    clock = FakeClock(start=1000)
    orchs = [make(clock=clock) for _ in range(2)]
    for orch in orchs:
        orch.add_agent("a", ScriptedAgent([Delay(5), "x"]))
    replies = [orch.spawn("a").deliver("go") for orch in orchs]
    clock.advance(5)
    assert [reply.done() for reply in replies] == [True, True]
    assert clock.now() == 1005


def test_a_scripted_agent_stays_in_the_process_of_its_test() -> None:
    with AgentOrchestrator(start_method="spawn") as orch:
        orch.add_agent("a", ScriptedAgent(["x"]))
        with pytest.raises(StartError, match="lives in the process of its test"):
            orch.spawn("a")


def test_the_helpers_of_agents_are_for_agents() -> None:
    for helper in (lambda: sleep(1), lambda: die()):
        with pytest.raises(RuntimeError, match="is for agents"):
            helper()


def test_a_fake_launcher_is_a_launcher() -> None:
    from procorch.launch.base import Launcher

    launcher: Launcher = FakeLauncher(FakeClock())
    assert launcher.caps.exit_status
