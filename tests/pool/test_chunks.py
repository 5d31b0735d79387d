"""Many small items in one request: as exact as one by one."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    Aborted,
    AgentCrashed,
    AgentFailure,
    AgentHung,
    AgentPool,
    AgentStopped,
    Backoff,
    MemoryLimitExceeded,
    MessageTooLarge,
    SerializationError,
    Shutdown,
)

QUICK = Shutdown(cooperate=0.05, interrupt=0.2, grace=0.5, terminate=0.2)
Factory = Callable[[], Any]


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    """Where the agent writes down each item that it begins, whatever happens to it then."""
    return tmp_path / "diary"


@pytest.fixture
def agent(diary: Path) -> Factory:
    """An agent that does what an item says, and says what it did."""
    path = str(diary)

    def factory():
        import asyncio
        import os
        import signal
        import time

        import procorch

        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        async def later(x):
            await asyncio.sleep(0)
            return x

        def handle(x):
            os.write(fd, f"{x!r}\n".encode())
            match x:
                case "raise":
                    raise ValueError("boom")
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "exit":
                    os._exit(0)
                case "leave":
                    raise SystemExit(3)
                case "finish":
                    procorch.current().finish()
                case "await":
                    return later(x)
                case "lambda":
                    return lambda: x
                case "socket":
                    import socket

                    return socket.socket()
                case ("sleep", seconds):
                    time.sleep(seconds)
                case ("large", size):
                    return b"x" * size
                case ("allocate", size):
                    block = bytearray(size)
                    block[::4096] = b"x" * len(block[::4096])
                    time.sleep(5)
            return x

        return handle

    return factory


@pytest.fixture
def pool(agent: Factory) -> Iterator[AgentPool]:
    with AgentPool(agent, 2, shutdown=QUICK, backoff=Backoff(initial=0)) as made:
        yield made


def began(diary: Path) -> Counter[str]:
    return Counter(diary.read_text().splitlines())


def test_map_finds_its_chunks_itself_and_gives_every_output_in_order(pool: AgentPool) -> None:
    assert pool.map(range(20_000)) == list(range(20_000))
    words = [f"word {n}" for n in range(3000)]
    assert pool.map(iter(words)) == words
    mixed = [[n, {"n": n}] if n % 3 else n for n in range(3000)]
    assert pool.map(mixed) == mixed


def test_small_items_share_requests_and_slow_ones_do_not(agent: Factory) -> None:
    with AgentPool(agent, 1) as pool:
        events = pool.events()
        pool.map(range(5000))
        pool.map([("sleep", 0.03)] * 8)
        pool.close()
        done = [event for event in events if type(event).__name__ == "RequestDone"]
    assert 8 < len(done) < 200


@pytest.mark.fault
@pytest.mark.parametrize("item", ["raise", "kill", "exit", "leave"])
def test_an_item_of_a_chunk_fails_alone(pool: AgentPool, item: str, diary: Path) -> None:
    items: list[Any] = [*range(40), item, *range(40, 90), item, item, *range(90, 100)]
    outcomes = pool.map(items, chunksize=50, outcomes=True)
    assert [outcome.index for outcome in outcomes] == list(range(len(items)))
    assert [outcome.ok for outcome in outcomes] == [each != item for each in items]
    assert [outcome.output for outcome in outcomes if outcome.ok] == list(range(100))
    errors = [outcome.error for outcome in outcomes if outcome.error]
    if item == "raise":
        assert all(isinstance(error, AgentFailure) for error in errors)
        assert all(isinstance(error.__cause__, ValueError) for error in errors)
        assert set(began(diary).values()) == {1, 3}
    else:
        assert all(isinstance(error, AgentCrashed) and error.may_have_executed for error in errors)
        assert began(diary)[repr(item)] == 3  # whatever kills is never tried again


@pytest.mark.fault
def test_what_an_item_that_took_its_time_came_to_is_safe_before_the_next_begins(
    agent: Factory, diary: Path
) -> None:
    items = [("sleep", 0.002), 1, ("sleep", 0.003), "kill", 2, ("sleep", 0.004), "kill"]
    with AgentPool(agent, 1, backoff=Backoff(initial=0)) as pool:
        outcomes = pool.map(items, chunksize=7, outcomes=True)
    assert [outcome.ok for outcome in outcomes] == [each != "kill" for each in items]
    times = began(diary)
    assert [times[repr(each)] for each in items if type(each) is tuple] == [1, 1, 1]


@pytest.mark.fault
def test_a_thousand_items_of_which_every_seventh_kills_its_worker(agent: Factory) -> None:
    items = [n if n % 7 else "kill" for n in range(300)]
    with AgentPool(agent, 2, backoff=Backoff(initial=0)) as pool:
        outcomes = list(pool.imap_unordered(items, chunksize=16, outcomes=True))
    assert sorted(outcome.index for outcome in outcomes) == list(range(300))
    assert all(outcome.ok == (outcome.index % 7 != 0) for outcome in outcomes)


@pytest.mark.fault
def test_a_worker_killed_from_outside_costs_at_most_the_item_it_was_at(agent: Factory) -> None:
    with AgentPool(agent, 1, backoff=Backoff(initial=0)) as pool:
        pids = iter([replica.pid for replica in pool.info().replicas])

        def items() -> Iterator[Any]:
            for n in range(400):
                if n == 200:
                    os.kill(next(pids), signal.SIGKILL)
                yield n

        outcomes = list(pool.imap(items(), chunksize=50, outcomes=True))
    assert [outcome.index for outcome in outcomes] == list(range(400))
    assert sum(not outcome.ok for outcome in outcomes) <= 1


@pytest.mark.fault
def test_memory_and_heartbeat_are_the_items_own_in_a_chunk(agent: Factory) -> None:
    items = [1, 2, ("allocate", 200 << 20), 3]
    with AgentPool(agent, 1, memory_limit="120M") as pool:
        outcomes = pool.map(items, chunksize=4, outcomes=True)
    assert [outcome.ok for outcome in outcomes] == [True, True, False, True]
    assert isinstance(outcomes[2].error, MemoryLimitExceeded)

    items = [*[("sleep", 0.1)] * 4, ("sleep", 20), 5]
    with AgentPool(agent, 1, heartbeat_timeout=0.4) as pool:
        outcomes = pool.map(items, chunksize=6, outcomes=True)
    assert [outcome.ok for outcome in outcomes] == [True, True, True, True, False, True]
    assert isinstance(outcomes[4].error, AgentHung)


def test_the_first_failure_in_input_order_is_raised_and_the_rest_cancelled(
    pool: AgentPool,
) -> None:
    with pytest.raises(AgentFailure, match="boom"):
        pool.map([*range(500), "raise", *range(500), "kill"])
    assert pool.map(range(10)) == list(range(10))
    results = pool.imap([1, "raise", 2], chunksize=3)
    assert next(results) == 1
    with pytest.raises(AgentFailure):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_an_item_that_cannot_be_sent_and_an_output_that_cannot_come_back_fail_alone(
    pool: AgentPool,
) -> None:
    connection = sqlite3.connect(":memory:")
    try:
        outcomes = pool.map([1, [connection], 2, "socket", "lambda", 3], chunksize=6, outcomes=True)
    finally:
        connection.close()
    assert [outcome.ok for outcome in outcomes] == [True, False, True, False, True, True]
    assert isinstance(outcomes[1].error, SerializationError)
    assert isinstance(outcomes[3].error, SerializationError)
    assert outcomes[4].output() == "lambda"


def test_items_and_outputs_that_are_too_large_together_go_in_parts(agent: Factory) -> None:
    items = [("large", 40_000)] * 10 + [b"y" * 40_000] * 10 + [("large", 200_000), 1]
    with AgentPool(agent, 1, max_message="100K") as pool:
        outcomes = pool.map(items, chunksize=22, outcomes=True)
    assert [outcome.ok for outcome in outcomes] == [True] * 20 + [False, True]
    assert isinstance(outcomes[20].error, MessageTooLarge)
    assert outcomes[0].output == b"x" * 40_000
    assert outcomes[10].output == b"y" * 40_000


def test_no_two_items_of_a_chunk_share_an_object() -> None:
    def factory():
        def handle(item):
            item.append(1)
            return item

        return handle

    shared: list[int] = []
    with AgentPool(factory, 1) as pool:
        assert pool.map([shared] * 5, chunksize=5) == [[1]] * 5


def test_coroutines_and_text_come_back_from_a_chunk_as_they_do_alone(pool: AgentPool) -> None:
    items = ["await", "text", None, b"bytes", 1.5, True, ("sleep", 0)]
    assert pool.map(items, chunksize=7) == items
    result = pool.map(["text"] * 2, chunksize=2, outcomes=True)[1].result
    assert (result.text, result.output, result.metrics) == ("text", "text", None)


def test_a_chunk_that_takes_too_long_is_given_back_for_whoever_is_free(agent: Factory) -> None:
    items = [("sleep", 0.06), 1, 2, 3]
    with AgentPool(agent, 1) as pool:
        events = pool.events()
        assert pool.map(items, chunksize=4) == items
        pool.close()
        done = [event for event in events if type(event).__name__ == "RequestDone"]
    assert len(done) == 2


@pytest.mark.fault
def test_an_agent_that_is_finished_leaves_the_rest_of_its_chunk_to_the_next(
    agent: Factory, diary: Path
) -> None:
    items = [1, 2, "finish", 3, 4]
    with AgentPool(agent, 1, restart="permanent", backoff=Backoff(initial=0)) as pool:
        assert pool.map(items, chunksize=5) == items
    assert set(began(diary).values()) == {1}


def test_a_chunk_has_no_timeout_and_no_retries(pool: AgentPool, agent: Factory) -> None:
    with pytest.raises(ValueError, match="chunksize=5 and a timeout"):
        pool.map([1], chunksize=5, timeout=1)
    with pytest.raises(ValueError, match="chunksize=5 and retries"):
        pool.imap([1], chunksize=5, retries=2)
    with pytest.raises(ValueError, match="chunksize must be 1 or more"):
        pool.imap_unordered([1], chunksize=0)
    assert pool.map(range(100), timeout=5) == list(range(100))
    assert pool.map(range(100), retries=1) == list(range(100))


def test_a_closed_pool_answers_every_item_of_a_chunk(agent: Factory) -> None:
    pool = AgentPool(agent, 1, shutdown=QUICK)
    results = pool.imap([*range(5), ("sleep", 20), *range(9)], chunksize=5, outcomes=True)
    first = next(results)
    pool.close(drain=False)
    outcomes = [first, *results]
    assert [outcome.index for outcome in outcomes] == list(range(15))
    assert [outcome.ok for outcome in outcomes] == [True] * 5 + [False] * 10
    assert all(isinstance(outcome.error, Aborted | AgentStopped) for outcome in outcomes[5:])


def test_chunks_are_awaited_too(pool: AgentPool) -> None:
    async def run() -> list[int]:
        return [x async for x in pool.imap_unordered(range(1000), chunksize=50)]

    assert sorted(asyncio.run(run())) == list(range(1000))
