"""Many replicas behind one queue: order, laziness, and what one item can do to the others."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from procorch import (
    Aborted,
    AgentCrashed,
    AgentError,
    AgentFailure,
    AgentPool,
    AgentResult,
    AgentStopped,
    Backoff,
    MemoryLimitExceeded,
    RequestCancelled,
    RequestTimeout,
    SerializationError,
    Shutdown,
    StartError,
    Success,
    SupervisorAction,
)

QUICK = Shutdown(cooperate=0.05, interrupt=0.2, grace=0.5, terminate=0.2)
MiB = 1 << 20

Factory = Callable[[], Any]


@pytest.fixture
def agent(door: Any) -> Factory:
    """An agent that does to itself what the item says, and returns all others with its pid."""
    wait = door.wait

    def factory():
        import os
        import signal
        import time

        def handle(x):
            match x:
                case "raise":
                    raise ValueError("boom")
                case ("kill", name):
                    os.kill(os.getpid(), getattr(signal, name))
                case "exit":
                    os._exit(0)
                case "wait":
                    wait()
                case ("sleep", seconds):
                    time.sleep(seconds)
                case ("allocate", size):
                    block = bytearray(size)
                    block[::4096] = b"x" * len(block[::4096])
                    wait()
            return x, os.getpid()

        return handle

    return factory


@pytest.fixture
def pool(agent: Factory) -> Iterator[AgentPool]:
    with AgentPool(agent, 2, shutdown=QUICK) as made:
        yield made


def items_of(results: Any) -> list[Any]:
    return [item for item, _ in results]


# Results


def test_map_gives_the_outputs_in_the_order_of_the_items(pool: AgentPool) -> None:
    results = pool.map(range(100))
    assert items_of(results) == list(range(100))
    assert 1 <= len({pid for _, pid in results}) <= 2
    assert os.getpid() not in {pid for _, pid in results}
    assert pool.map([]) == []


def test_map_keeps_the_order_when_later_items_are_faster(pool: AgentPool) -> None:
    items = [("sleep", 0.1), 1, 2, ("sleep", 0.05), 3]
    assert items_of(pool.map(items)) == items


def test_items_arrive_unchanged(pool: AgentPool) -> None:
    items = [
        "text",
        b"bytes",
        None,
        {"a": [1]},
        ["list"],
        1.5,
        Success(0, True, "x", None, AgentResult()),
    ]
    assert items_of(pool.map(items)) == items


def test_submit_gives_a_future_of_the_whole_result(pool: AgentPool) -> None:
    result = pool.submit("hi").result()
    assert result.output[0] == "hi"
    assert result.metrics is not None
    assert result.metrics.pid == result.output[1]


def test_the_replicas_work_at_the_same_time(pool: AgentPool, door: Any) -> None:
    first, second = pool.submit("wait"), pool.submit(1)
    assert second.result().output[0] == 1
    assert not first.done()
    door.open()
    assert first.result().output[0] == "wait"


def test_several_threads_share_a_pool(pool: AgentPool) -> None:
    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(pool.map, range(n, n + 50)) for n in range(4)]
        assert [items_of(job.result()) for job in jobs] == [
            list(range(n, n + 50)) for n in range(4)
        ]


# Laziness


@pytest.mark.parametrize("form", ["imap", "imap_unordered"])
def test_an_endless_input_is_taken_as_the_results_are(pool: AgentPool, form: str) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        for n in itertools.count():
            taken += 1
            yield n

    results = getattr(pool, form)(endless())
    assert taken == 0
    seen = []
    for count, (item, _) in enumerate(itertools.islice(results, 50), start=1):
        seen.append(item)
        assert taken <= count + 3  # two replicas have one item each, and one is next for each
    assert sorted(seen) == list(range(50)) or form == "imap_unordered"
    results.close()
    after = taken
    assert items_of(pool.map([1, 2, 3])) == [1, 2, 3]
    assert taken <= after + 1  # the one that was being read


def test_imap_yields_each_result_when_its_turn_comes(pool: AgentPool, door: Any) -> None:
    results = pool.imap([1, "wait", 2])
    assert next(results)[0] == 1
    door.open()
    assert items_of(results) == ["wait", 2]


@pytest.mark.queue
def test_imap_unordered_yields_what_is_finished_first(pool: AgentPool, door: Any) -> None:
    results = pool.imap_unordered(["wait", 1, 2, 3])
    assert sorted(items_of(itertools.islice(results, 3))) == [1, 2, 3]
    door.open()
    assert items_of(results) == ["wait"]


def test_imap_unordered_does_not_wait_behind_a_callback_of_the_users(pool: AgentPool) -> None:
    entered, leave = threading.Event(), threading.Event()

    def block(reply: object) -> None:
        entered.set()
        leave.wait()

    reply = pool.submit(("sleep", 0.05))
    threading.Thread(target=reply.add_done_callback, args=[block]).start()
    assert entered.wait(10)
    try:
        assert sorted(items_of(pool.imap_unordered(range(20)))) == list(range(20))
    finally:
        leave.set()


@pytest.mark.parametrize("form", ["map", "imap", "imap_unordered"])
def test_an_input_that_raises_is_the_callers_and_the_pool_goes_on(
    pool: AgentPool, form: str
) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError("in the input")

    with pytest.raises(ZeroDivisionError, match="in the input"):
        list(getattr(pool, form)(broken()))
    assert items_of(pool.map([1, 2])) == [1, 2]


# Failures


def test_an_item_that_raises_keeps_its_replica(agent: Factory) -> None:
    with AgentPool(agent, 1) as pool:
        before = pool.submit(1).result()
        outcomes = pool.map(["raise", 2, "raise", 3], outcomes=True)
        after = pool.submit(4).result()
    assert [outcome.ok for outcome in outcomes] == [False, True, False, True]
    assert before.output[1] == after.output[1]
    assert after.metrics.generation == 1
    assert isinstance(outcomes[0].error, AgentFailure)
    assert str(outcomes[0].error) == "agent 'pool' failed: ValueError: boom"


def test_outcomes_say_what_became_of_each_item(pool: AgentPool) -> None:
    ok, failed = pool.map([7, "raise"], outcomes=True)
    assert (ok.index, ok.ok, ok.output[0], ok.error) == (0, True, 7, None)
    assert ok.result.output == ok.output
    assert ok.result.metrics.wall >= 0
    assert (failed.index, failed.ok, failed.output, failed.result) == (1, False, None, None)
    assert isinstance(failed.error, AgentError)

    outcomes = list(pool.imap_unordered([1, "raise", 2], outcomes=True))
    assert sorted((outcome.index, outcome.ok) for outcome in outcomes) == [
        (0, True),
        (1, False),
        (2, True),
    ]


@pytest.mark.parametrize("form", ["map", "imap"])
def test_without_outcomes_the_first_failure_in_input_order_is_raised(
    pool: AgentPool, form: str
) -> None:
    with pytest.raises(AgentFailure, match="boom"):
        list(getattr(pool, form)([("sleep", 0.1), "raise", "exit"]))
    results = pool.imap([1, "raise", 2])
    assert next(results)[0] == 1
    with pytest.raises(AgentFailure):
        next(results)
    assert items_of(pool.map([1, 2])) == [1, 2]


def test_what_follows_a_failure_is_cancelled(agent: Factory, door: Any) -> None:
    with AgentPool(agent, 1, shutdown=QUICK) as pool:
        behind = pool.submit("wait")
        with ThreadPoolExecutor(1) as thread:
            mapped = thread.submit(pool.map, ["raise", ("kill", "SIGKILL")])
            door.open()
            assert isinstance(mapped.exception(), AgentFailure)
        assert behind.result().output[0] == "wait"
        result = pool.submit(1).result()
    assert result.output[0] == 1


@pytest.mark.fault
@pytest.mark.parametrize("item", [("kill", "SIGKILL"), ("kill", "SIGSEGV"), "exit"], ids=str)
def test_a_death_fails_exactly_the_item_that_caused_it(pool: AgentPool, item: Any) -> None:
    items = [*range(10), item, *range(10)]
    outcomes = pool.map(items, outcomes=True)
    assert [outcome.ok for outcome in outcomes] == [each != item for each in items]
    assert [outcome.output[0] for outcome in outcomes if outcome.ok] == [*range(10), *range(10)]
    error = outcomes[10].error
    assert isinstance(error, AgentCrashed)
    assert error.agent == "pool"
    assert error.may_have_executed
    assert error.signal == item[1] if item != "exit" else error.exitcode == 0


@pytest.mark.fault
def test_a_pool_lives_on_through_a_hundred_deaths(agent: Factory) -> None:
    items = [n if n % 2 else ("kill", "SIGKILL") for n in range(200)]
    with AgentPool(agent, 4, backoff=Backoff(initial=0)) as pool:
        outcomes = list(pool.imap(items, outcomes=True))
        assert [outcome.ok for outcome in outcomes] == [n % 2 == 1 for n in range(200)]
        assert {outcome.error.signal for outcome in outcomes if outcome.error} == {"SIGKILL"}
        assert items_of(pool.map([1, 2])) == [1, 2]


def test_an_idle_death_costs_no_item(pool: AgentPool) -> None:
    for _ in range(3):
        _, pid = pool.submit(1).result().output
        os.kill(pid, signal.SIGKILL)
        # The item may have met the dying replica: then it was written to it and never begun.
        outcomes = pool.map(range(10), outcomes=True)
        lost = [outcome.error for outcome in outcomes if not outcome.ok]
        assert len(lost) <= 1
        assert all(isinstance(e, AgentCrashed) and not e.may_have_executed for e in lost)


def test_an_item_that_cannot_be_sent_fails_alone(pool: AgentPool) -> None:
    connection = sqlite3.connect(":memory:")
    try:
        outcomes = pool.map([1, [connection], 2], outcomes=True)
        unordered = list(pool.imap_unordered([1, [connection], 2], outcomes=True))
        with pytest.raises(SerializationError, match=r"value\[0\]"):
            pool.map([1, [connection], 2])
        with pytest.raises(SerializationError, match=r"'pool'.*value\[0\]"):
            pool.submit([connection])
    finally:
        connection.close()
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, SerializationError)
    assert sorted((outcome.index, outcome.ok) for outcome in unordered) == [
        (0, True),
        (1, False),
        (2, True),
    ]


# Time and memory


def test_the_time_of_an_item_counts_from_its_dispatch(agent: Factory) -> None:
    with AgentPool(agent, 1) as pool:
        before = time.monotonic()
        results = pool.map([("sleep", 0.1)] * 6, timeout=0.5)  # 0.6 s in all
        assert time.monotonic() - before > 0.5
    assert len(results) == 6


def test_an_item_that_takes_too_long_fails_alone(pool: AgentPool) -> None:
    outcomes = pool.map([1, "wait", 2, 3], timeout=0.3, outcomes=True)
    assert [outcome.ok for outcome in outcomes] == [True, False, True, True]
    error = outcomes[1].error
    assert isinstance(error, RequestTimeout)
    assert error.ran
    assert str(error).startswith("agent 'pool': request ")


def test_the_timeout_may_be_a_setting_of_the_pool(agent: Factory) -> None:
    with AgentPool(agent, 1, request_timeout="200ms", shutdown=QUICK) as pool:
        assert isinstance(pool.submit("wait").exception(), RequestTimeout)
        assert pool.submit(1).result().output[0] == 1


def test_a_cancelled_item_is_dropped_and_the_pool_goes_on(pool: AgentPool) -> None:
    running = [pool.submit("wait") for _ in range(2)]
    queued = pool.submit(1)
    for reply in (queued, *running):
        assert reply.cancel()
        with pytest.raises(RequestCancelled):
            reply.result()
    assert items_of(pool.map([1, 2])) == [1, 2]


@pytest.mark.fault
def test_an_item_above_the_memory_limit_is_ended_with_the_figures(agent: Factory) -> None:
    with AgentPool(agent, 2, memory_limit="150M") as pool:
        outcomes = pool.map([1, ("allocate", 300 * MiB), 2], outcomes=True)
        assert items_of(pool.map([3, 4])) == [3, 4]
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    error = outcomes[1].error
    assert isinstance(error, MemoryLimitExceeded)
    assert error.limit == 150 * MiB
    assert 150 * MiB < error.observed < 400 * MiB
    assert error.signal == "SIGKILL"
    assert "exceeded its memory limit" in str(error)
    assert "150.0 MiB" in str(error)


# Beginning and end


@pytest.mark.parametrize("workers", [0, -1, True, 1.5, "2"])
def test_the_number_of_workers_is_checked(workers: Any) -> None:
    with pytest.raises(ValueError, match="workers must be a whole number of 1 or more"):
        AgentPool(lambda: len, workers)


def test_a_pool_whose_replicas_do_not_start_raises_and_leaves_nothing() -> None:
    with pytest.raises(StartError, match=r"agent 'pool' failed to start .*ZeroDivisionError"):
        AgentPool(lambda: 1 / 0, 3)
    with pytest.raises(StartError, match="SIGKILL while it was starting"):
        AgentPool(lambda: os.kill(os.getpid(), signal.SIGKILL), 3)
    with pytest.raises(TypeError, match="did you mean 'memory_limit'"):
        AgentPool(lambda: len, 1, memory_limits="1G")


def test_an_unknown_option_of_items_is_named_with_the_nearest_known_one() -> None:
    with AgentPool(lambda: len, 1) as pool:
        for call in (pool.map, pool.imap, pool.imap_unordered):
            with pytest.raises(TypeError, match="'timout' of items; did you mean 'timeout'"):
                call(["a"], timout=3)


@pytest.mark.fault
def test_a_pool_whose_replicas_do_not_come_back_answers_everybody() -> None:
    def factory():
        import os

        import procorch

        if procorch.current().generation > 1:
            raise OSError("the licence server is down")
        return lambda x: os._exit(1) if x == "exit" else x

    with AgentPool(factory, 2, max_restarts=2, backoff=Backoff(initial=0)) as pool:
        outcomes = pool.map(["exit"] * 2 + list(range(10)), outcomes=True)
        lost = [outcome.error for outcome in outcomes if not outcome.ok]
        assert sum(isinstance(error, AgentCrashed) for error in lost) == 2
        assert all(isinstance(error, AgentCrashed | AgentStopped) for error in lost)
        with pytest.raises(AgentStopped):
            pool.map([1])


def test_another_policy_may_take_the_place_of_the_pools_own(agent: Factory) -> None:
    asked = []

    def policy(name: str, error: AgentError) -> SupervisorAction:
        asked.append((name, type(error)))
        return SupervisorAction.RESTART

    with AgentPool(agent, 1, supervisor=policy, name="solvers") as pool:
        first = pool.submit(1).result().output[1]
        assert isinstance(pool.submit("raise").exception(), AgentFailure)
        assert pool.submit(1).result().output[1] != first
    assert asked == [("solvers", AgentFailure)]


def test_close_finishes_what_was_accepted_and_an_exception_aborts_it(
    agent: Factory, door: Any
) -> None:
    pool = AgentPool(agent, 2)
    replies = [pool.submit(n) for n in range(20)]
    pool.close()
    pool.close()
    assert [reply.result().output[0] for reply in replies] == list(range(20))
    with pytest.raises(AgentStopped, match="agent channel closed"):
        pool.submit(1).result()
    with pytest.raises(AgentStopped):
        pool.map([1])

    replies = []

    def fails() -> None:
        with AgentPool(agent, 2, shutdown=QUICK) as pool:
            replies.extend(pool.submit("wait") for _ in range(5))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert [type(reply.exception()) for reply in replies] == [Aborted] * 5


def test_a_pool_shows_its_name_and_its_workers(agent: Factory) -> None:
    with AgentPool(agent, 2, name="solvers") as pool:
        assert repr(pool) == "<AgentPool name='solvers' workers=2>"
    assert repr(pool) == "<AgentPool name='solvers' workers=0>"
