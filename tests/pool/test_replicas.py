"""How many replicas there are, which of them work, and who goes first."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from procorch import (
    AgentFailure,
    AgentPool,
    AgentStopped,
    Backoff,
    EventStream,
    Shutdown,
    StartError,
)

QUICK = Shutdown(cooperate=0.05, interrupt=0.2, grace=0.5, terminate=0.2)
Factory = Callable[[], Any]


@pytest.fixture
def agent(door: Any) -> Factory:
    """An agent that waits at the door, dies, or says in which process it is, and since when."""
    wait = door.wait

    def factory():
        import os

        import procorch

        seen = 0

        def handle(item):
            nonlocal seen
            seen += 1
            if item == "wait":
                wait()
            elif item == "raise":
                raise ValueError("boom")
            elif item == "kill once" and procorch.current().generation == 1:
                os._exit(1)
            elif type(item) is int:
                return bytearray(item) and None
            return os.getpid(), seen

        return handle

    return factory


def of_kind(events: EventStream, *kinds: str) -> Iterator[Any]:
    return (event for event in events if type(event).__name__ in kinds)


# The number of replicas


def test_a_pool_grows(agent: Factory, door: Any) -> None:
    with AgentPool(agent, 1) as pool:
        first = pool.submit("wait")
        pool.resize(3)
        assert pool.submit("hi").result().output[0]
        info = pool.info()
        assert (info.workers, info.busy, len(info.replicas), info.queue) == (3, 1, 3, 0)
        door.open()
        first.result()
        waiting = [pool.submit("wait") for _ in range(3)]
        door.open(3)
        assert len({reply.result().output[0] for reply in waiting}) == 3


@pytest.mark.queue
def test_a_pool_that_shrinks_interrupts_nobody_and_loses_nothing(agent: Factory, door: Any) -> None:
    with AgentPool(agent, 3) as pool:
        events = pool.events()
        replies = [pool.submit("wait") for _ in range(3)]
        queued = [pool.submit("hi") for _ in range(10)]
        started = of_kind(events, "RequestStarted")
        for _ in range(3):
            next(started)
        pool.resize(1)
        door.open(3)
        pids = {reply.result().output[0] for reply in (*replies, *queued)}
        ended = of_kind(events, "Stopped")
        assert [next(ended).error, next(ended).error] == [None, None]
        assert len({reply.result().output[0] for reply in queued}) == 1
        assert len(pids) == 3
        info = pool.info()
        assert (info.workers, len(info.replicas), info.restarts) == (1, 1, 0)
        assert repr(pool) == "<AgentPool name='pool' workers=1>"


def test_resizing_makes_up_for_replicas_that_have_ended(agent: Factory) -> None:
    with AgentPool(agent, 2, max_restarts=0, shutdown=QUICK) as pool:
        events = pool.events()
        os.kill(pool.info().replicas[0].pid, signal.SIGKILL)
        next(of_kind(events, "Stopped"))
        assert len(pool.info().replicas) == 1
        pool.resize(2)
        assert len(pool.info().replicas) == 2
        assert pool.map(["hi"] * 4, timeout=5)


def test_a_pool_that_cannot_grow_stays_as_it_is(tmp_path: Any) -> None:
    licence = tmp_path / "licence"
    licence.touch()
    path = str(licence)

    def factory():
        with open(path):
            return lambda x: x

    with AgentPool(factory, 1) as pool:
        licence.unlink()
        with pytest.raises(StartError, match="licence"):
            pool.resize(3)
        assert pool.info().workers == 1
        assert pool.map([1, 2]) == [1, 2]
    with pytest.raises(ValueError, match="workers must be a whole number"):
        pool.resize(0)
    with pytest.raises(AgentStopped):
        pool.resize(2)


# Warm spares


@pytest.mark.fault
def test_a_warm_spare_takes_over_at_once(door: Any) -> None:
    wait = door.wait

    def factory():
        import os

        import procorch

        if procorch.current().generation > 1:
            wait()  # the successor of the dead one comes late
        return lambda x: os._exit(1) if x == "exit" else (x, os.getpid())

    with AgentPool(factory, 1, warm_spares=1, backoff=Backoff(initial=0)) as pool:
        first = pool.submit(1).result().output[1]
        assert pool.submit("exit").exception() is not None
        second = pool.submit(2).result(timeout=10).output[1]
        assert second != first
        info = pool.info()
        assert (info.workers, info.warm_spares, len(info.replicas)) == (1, 1, 2)
        door.open()


def test_warm_spares_do_not_work_beside_the_others(agent: Factory, door: Any) -> None:
    with AgentPool(agent, 2, warm_spares=2) as pool:
        events = pool.events()
        replies = [pool.submit("wait") for _ in range(3)]
        kinds = of_kind(events, "RequestStarted", "RequestDone")
        assert [type(next(kinds)).__name__ for _ in range(2)] == ["RequestStarted"] * 2
        door.open()
        assert [type(next(kinds)).__name__ for _ in range(2)] == ["RequestDone", "RequestStarted"]
        door.open(2)
        assert len({reply.result().output[0] for reply in replies}) <= 3
        pool.resize(4)
        replies = [pool.submit("wait") for _ in range(4)]
        door.open(4)
        assert len({reply.result().output[0] for reply in replies}) == 4


# Priorities, retries, recycling


@pytest.mark.queue
def test_what_waits_goes_by_priority(agent: Factory, door: Any) -> None:
    with AgentPool(agent, 1) as pool:
        order: list[str] = []
        blocker = pool.submit("wait")
        replies = []
        for name, priority in (("b", 0), ("c", -1), ("a", 5), ("b2", 0)):
            reply = pool.submit(name, priority=priority)
            reply.notify(lambda name=name: order.append(name))
            replies.append(reply)
        door.open()
        for reply in (blocker, *replies):
            reply.result()
        assert order == ["a", "b", "b2", "c"]
        with pytest.raises(TypeError, match="priority must be a whole number"):
            pool.submit("x", priority="high")


@pytest.mark.fault
def test_an_item_whose_replica_died_is_tried_again_where_that_is_asked_for(agent: Factory) -> None:
    with AgentPool(agent, 1, backoff=Backoff(initial=0)) as pool:
        assert pool.submit("kill once", retries=1).result().output[1] == 1
    with AgentPool(agent, 1, backoff=Backoff(initial=0)) as pool:
        assert [len(output) for output in pool.map(["kill once", "hi"], retries=1)] == [2, 2]


def test_each_replica_has_a_state_of_its_own(agent: Factory) -> None:
    with AgentPool(agent, 2) as pool:
        outputs = pool.map(["hi"] * 20, timeout=5)
    for pid in {pid for pid, _ in outputs}:
        counts = [count for each, count in outputs if each == pid]
        assert counts == list(range(1, len(counts) + 1))


def test_a_replica_that_has_grown_is_replaced_after_the_item(agent: Factory) -> None:
    with AgentPool(agent, 1, max_memory="80M", recycle_jitter=0) as pool:
        before = pool.submit("hi").result().metrics.generation
        assert pool.submit(100 << 20).result().output is None
        after = pool.submit("hi").result().metrics.generation
        assert (before, after) == (1, 2)
        assert pool.info().restarts == 0


def test_replicas_are_recycled_at_different_times() -> None:
    def factory():
        import procorch

        return lambda x: procorch.current().generation

    with AgentPool(factory, 1, max_requests=100, recycle_jitter=0.9) as pool:
        generations = pool.map(range(400))
    lives = [generations.count(n) for n in sorted(set(generations))][:-1]
    assert all(10 <= life <= 100 for life in lives)
    assert len(set(lives)) > 1
    with pytest.raises(ValueError, match="recycle_jitter must be from 0 to 1"):
        AgentPool(factory, 1, recycle_jitter=2)


# Coroutines


def test_a_pool_serves_coroutines(agent: Factory) -> None:
    async def run() -> None:
        async with AgentPool(agent, 2) as pool:
            assert (await pool.submit("hi")).output[1] == 1
            assert len(await pool.amap(["hi"] * 10)) == 10
            outcomes = [o async for o in pool.imap(["hi", "raise"], outcomes=True)]
            assert [outcome.ok for outcome in outcomes] == [True, False]
            with pytest.raises(AgentFailure):
                await pool.amap(["hi", "raise", "hi"])
            assert len(await pool.amap(["hi"])) == 1

    asyncio.run(run())


@pytest.mark.parametrize("form", ["imap", "imap_unordered"])
def test_an_asynchronous_input_may_wait_for_the_results(agent: Factory, form: str) -> None:
    """An input that gives its second item only when it has seen the first result, and so on."""

    async def run() -> None:
        seen: asyncio.Queue[Any] = asyncio.Queue()
        taken = 0

        async def items() -> AsyncIterator[Any]:
            nonlocal taken
            for _ in range(5):
                taken += 1
                yield "hi"
                await seen.get()

        async with AgentPool(agent, 2) as pool:
            results = []
            async for output in getattr(pool, form)(items()):
                results.append(output)
                assert taken == len(results)
                seen.put_nowait(output)
        assert len(results) == 5

    asyncio.run(run())


def test_an_endless_asynchronous_input_is_taken_as_the_results_are(agent: Factory) -> None:
    async def run() -> None:
        taken, closed = 0, False

        async def endless() -> AsyncIterator[Any]:
            nonlocal taken, closed
            try:
                while True:
                    taken += 1
                    yield "hi"
            finally:
                closed = True

        async with AgentPool(agent, 2) as pool:
            results = pool.imap(endless())
            for count in range(1, 20):
                await anext(results)
                assert taken <= count + 4
            await results.aclose()
            assert closed
            with pytest.raises(StopAsyncIteration):
                await anext(results)
            with pytest.raises(TypeError, match="use `async for`"):
                next(pool.imap(endless()))

    asyncio.run(run())


def test_the_loop_is_free_while_items_are_worked_on(agent: Factory, door: Any) -> None:
    async def run() -> None:
        async with AgentPool(agent, 1) as pool:

            async def consume() -> list[Any]:
                return [output async for output in pool.imap(["wait", "hi"])]

            task = asyncio.create_task(consume())
            await asyncio.sleep(0)
            door.open()
            assert len(await task) == 2

    asyncio.run(run())
