"""A user's file with mistakes: both type checkers find one in each line that is marked."""

from __future__ import annotations

from collections.abc import Callable

from procorch import AgentExecutor, AgentOrchestrator, AgentPool, Backoff, run_batch


def square() -> Callable[[int], int]:
    return lambda number: number * number


def name_of(number: int) -> str:
    return str(number)


def settings(orch: AgentOrchestrator) -> None:
    orch.add_agent("a", square, memory_limits="512M")  # mistake
    orch.add_agent("a", square, restart="always")  # mistake
    orch.add_agent("a", square, request_timeout=[30])  # mistake
    orch.add_agent("a", square, max_restarts="3")  # mistake
    orch.add_agent("a", square, backoff=0.5)  # mistake
    orch.add_agent("a", square, env={"KEY": 1})  # mistake
    orch.add_agent("a", square, significant="yes")  # mistake
    orch.add_child("b", "a", square, links="stop")  # mistake
    Backoff(intial=1.0)  # mistake


def pools(pool: AgentPool[int, int]) -> None:
    pool.map(["a"])  # mistake
    pool.map([1], timout=3)  # mistake
    pool.imap([1], retries="two")  # mistake
    pool.submit("a")  # mistake
    pool.submit(1).result().output.upper()  # mistake
    pool.map([1])[0].upper()  # mistake
    pool.map([1], outcomes=True)[0].output + 1  # mistake
    for outcome in pool.imap([1], outcomes=True):
        raise outcome.error  # mistake
    AgentPool(square, worker=2)  # mistake
    AgentPool(square, workers=2, memory_limit=[1])  # mistake


def executors(executor: AgentExecutor) -> None:
    executor.submit(name_of, "1")  # mistake
    executor.submit(name_of, 1).result() + 1  # mistake
    for name in executor.map(name_of, [1]):
        name + 1  # mistake


def batches() -> None:
    run_batch(square, [1], out=None, time_out="5s")  # mistake
    run_batch(square, [1], out=None, max_age={})  # mistake
    run_batch(square, [1], out=None, retries="2")  # mistake
    run_batch(square, [1])  # mistake
    for item in run_batch(square, [1], out=None):
        item.output + 1  # mistake
        print(item.error.may_have_executed)  # mistake
        if item.error is None:
            item.output.upper()  # mistake
    print(run_batch(square, [1], out=None).summary().okay)  # mistake
