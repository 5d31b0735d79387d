"""A user's file without mistakes: both type checkers accept it, and know what comes out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, assert_never, assert_type

from procorch import (
    AgentEvent,
    AgentExecutor,
    AgentOrchestrator,
    AgentPool,
    AgentResult,
    BackingOff,
    Backoff,
    BatchFailure,
    BatchItem,
    BatchRun,
    BatchSuccess,
    Cost,
    Crashed,
    DefaultSupervisor,
    Escalated,
    Failure,
    Hung,
    Lost,
    NodeJoined,
    NodeLost,
    Outcome,
    Ready,
    Recovered,
    Reloaded,
    ReloadFailed,
    Reloading,
    RequestDone,
    RequestStarted,
    Restarting,
    Starting,
    Stopped,
    Success,
    Throttled,
    Unreaped,
    Usage,
    run_batch,
)


def square() -> Callable[[int], int]:
    return lambda number: number * number


class Grader:
    async def handle(self, answer: str) -> float:
        return float(len(answer))


def name_of(number: int, *, upper: bool = False) -> str:
    return str(number).upper() if upper else str(number)


def pools() -> None:
    with AgentPool(square, workers=2, memory_limit="512M", request_timeout="30s") as pool:
        assert_type(pool, AgentPool[int, int])
        assert_type(pool.map([1, 2]), list[int])
        assert_type(list(pool.imap([1, 2], timeout="5s", priority=2)), list[int])
        assert_type(list(pool.imap_unordered([1, 2], chunksize=8)), list[int])
        assert_type(pool.submit(3).result(), AgentResult[int])
        assert_type(pool.submit(3).result().output, int)
        for outcome in pool.map([1], outcomes=True):
            assert_type(outcome, Outcome[int])
            if outcome.error is None:
                print(outcome.output + 1, outcome.result.metrics)
            else:
                raise outcome.error
        for outcome in pool.imap([1], outcomes=True):
            match outcome:
                case Success(output=output):
                    assert_type(output, int)
                case Failure(error=error):
                    raise error
    with AgentPool(Grader) as grader:
        assert_type(grader.map(["a"]), list[float])
    with AgentPool(lambda: lambda item: item) as untyped:
        untyped.map([1, "a"])


def executors() -> Iterator[str]:
    with AgentExecutor(max_workers=2, warm_spares=1) as executor:
        assert_type(executor.submit(name_of, 3).result(), str)
        assert_type(executor.submit(name_of, 3, upper=True).result(), str)
        assert_type(executor.submit(name_of, 3, timeout=2.5).result(), str)
        yield from executor.map(name_of, [1, 2])


def orchestrators() -> str:
    with AgentOrchestrator(supervisor=DefaultSupervisor()) as orch:
        orch.add_agent("a", square, restart="permanent", backoff=Backoff(initial=1), retries=2)
        orch.add_child("b", "a", square, link="stop", env={"KEY": "value"})
        handle = orch.spawn("a")
        result: AgentResult = handle.send_message("hello", timeout="5s")
        return result.text


async def asynchronous() -> None:
    async with AgentPool(square) as pool:
        result = await pool.submit(3)
        assert_type(result, AgentResult[int])
        async for number in pool.imap([1, 2]):
            assert_type(number, int)
        assert_type(await pool.amap([1, 2], retries=1), list[int])


def batches() -> None:
    with run_batch(square, [1, 2], out=None, timeout="5s", heartbeat_timeout=3) as run:
        assert_type(run, BatchRun[int])
        for item in run:
            assert_type(item, BatchItem[int])
            if item.error is None:
                print(item.id, item.output + 1, item.attempts, item.cost.wall)
            else:
                print(item.reason.upper())
                raise item.error
    for graded in run_batch(
        Grader, ["a"], out="run.db", resume=True, retries=2, halt="soon,fail=3"
    ):
        match graded:
            case BatchSuccess(output=output):
                assert_type(output, float)
            case BatchFailure(error=error):
                raise error
    for untyped in run_batch(lambda: lambda item: item, [1], out=None).wait():
        print(untyped.id, untyped.output)


def events(orch: AgentOrchestrator) -> None:
    for event in orch.events():
        assert_type(event, AgentEvent)
        assert_type(event.as_dict(), dict[str, Any])
        match event:
            case Restarting(restart=restart):
                assert_type(restart, int)
            case Crashed(error=error) | Escalated(error=error) | Throttled(error=error):
                raise error
            case RequestDone(usage=usage, cost=cost):
                assert_type(usage, Usage | None)
                assert_type(cost, Cost | None)
            case Starting() | Ready() | RequestStarted() | Hung() | BackingOff() | Recovered():
                pass
            case Reloading(release=release) | Reloaded(release=release):
                assert_type(release, int)
            case ReloadFailed() | Stopped() | Lost() | Unreaped() | NodeJoined() | NodeLost():
                pass
            case _:
                assert_never(event)


if __name__ == "__main__":
    pools()
    asyncio.run(asynchronous())
