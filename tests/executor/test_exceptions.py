"""What a function raises comes as it is, whatever its class does."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from procorch import AgentExecutor, AgentFailure, AgentPool
from tests.executor import functions


@pytest.fixture(scope="module")
def executor() -> Iterator[AgentExecutor]:
    with AgentExecutor(1) as made:
        yield made


DATA = [[1], [2], [], [4]]


@pytest.mark.parametrize("options", [{}, {"chunksize": 2}, {"buffersize": 2}])
def test_stop_iteration_does_not_end_a_map(
    executor: AgentExecutor, options: dict[str, Any]
) -> None:
    mapped = executor.map(functions.first, DATA, **options)
    assert [next(mapped), next(mapped)] == [1, 2]
    with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
        next(mapped)
    assert isinstance(caught.value.__cause__, StopIteration)
    assert "return next(iter(items))" in str(caught.value.__cause__.__cause__)


def test_stop_iteration_arrives_in_futures_and_coroutines(executor: AgentExecutor) -> None:
    assert isinstance(executor.submit(functions.first, []).exception(), RuntimeError)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="raised StopIteration"):
            await loop.run_in_executor(executor, functions.first, [])
        with pytest.raises(RuntimeError, match="raised StopIteration"):
            await executor.submit(functions.first, [])

    asyncio.run(asyncio.wait_for(run(), 30))


def test_stop_iteration_does_not_end_the_results_of_a_pool() -> None:
    with AgentPool(lambda: functions.first, workers=1) as pool:
        for results in (pool.imap(DATA), pool.imap_unordered(DATA), pool.imap(DATA, chunksize=3)):
            with pytest.raises(AgentFailure, match="StopIteration"):
                list(results)

        async def all_of_it() -> None:
            await pool.amap(DATA)

        with pytest.raises(AgentFailure, match="StopIteration"):
            asyncio.run(asyncio.wait_for(all_of_it(), 30))


@pytest.mark.parametrize(
    "kind",
    [
        StopAsyncIteration,
        GeneratorExit,
        KeyboardInterrupt,
        SystemExit,
        asyncio.CancelledError,
        concurrent.futures.CancelledError,
        functions.Refusing,
        functions.Hostile,
        functions.Falsy,
        MemoryError,
        RecursionError,
    ],
)
def test_an_exception_of_any_class_arrives(
    executor: AgentExecutor, kind: type[BaseException]
) -> None:
    future = executor.submit(functions.raise_one, kind)
    assert type(future.exception()) is kind
    assert f"raised {kind.__name__}" in repr(future)
    for _ in range(2):
        with pytest.raises(kind):
            future.result()
    with pytest.raises(kind):
        list(executor.map(functions.raise_one, [kind]))


def test_slots_groups_and_the_unpicklable(executor: AgentExecutor) -> None:
    slotted = executor.submit(functions.raise_one, functions.Slotted, 7).exception()
    assert isinstance(slotted, functions.Slotted)
    assert slotted.code == 7
    group = executor.submit(functions.raise_group).exception()
    assert isinstance(group, ExceptionGroup)
    assert [type(each) for each in group.exceptions] == [ValueError, StopIteration]
    error = executor.submit(functions.raise_one, functions.Unpicklable).exception()
    assert isinstance(error, AgentFailure)
    assert error.exc_type.endswith("Unpicklable")


def test_an_exception_may_be_a_result(executor: AgentExecutor) -> None:
    for made in (ValueError("kept"), StopIteration(3)):
        future = executor.submit(functions.add, (made,), ())
        assert future.exception() is None
        assert type(future.result()[0]) is type(made)
        assert type(next(iter(executor.map(functions.power, [2], [1])))) is int


def test_exhaustion_arrives_as_what_it_is(executor: AgentExecutor) -> None:
    assert type(executor.submit(functions.exhaust, "memory").exception()) is MemoryError
    assert type(executor.submit(functions.exhaust, "stack").exception()) is RecursionError


def test_an_input_may_raise_what_refuses_attributes(executor: AgentExecutor) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise functions.Refusing

    with pytest.raises(functions.Refusing):
        list(executor.map(functions.power, items()))
    with (
        AgentPool(lambda: functions.power, workers=1) as pool,
        pytest.raises(functions.Refusing),
    ):
        list(pool.imap(items()))


# What is seen of a failed future before anybody asks for its result


def test_wait_sees_a_first_exception() -> None:
    with AgentExecutor(2) as executor:
        slow = executor.submit(functions.nap, 30)
        failed = executor.submit(functions.even, 1)
        done, pending = concurrent.futures.wait(
            [slow, failed], timeout=20, return_when=concurrent.futures.FIRST_EXCEPTION
        )
        assert (done, pending) == ({failed}, {slow})
        slow.cancel()


def test_a_future_says_what_it_came_to(executor: AgentExecutor) -> None:
    failed, good = executor.submit(functions.even, 1), executor.submit(functions.even, 2)
    concurrent.futures.wait([failed, good])
    assert repr(failed).endswith("state=finished raised ValueError>")
    assert repr(good).endswith("state=finished returned int>")


# Callbacks


def test_callbacks_run_in_order_whatever_one_raises(
    executor: AgentExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []
    done = threading.Event()
    future = executor.submit(functions.nap, 0.2)
    for kind in (ValueError, KeyboardInterrupt, SystemExit):
        future.add_done_callback(lambda _, kind=kind: functions.raise_one(kind))  # type: ignore[misc]
        future.add_done_callback(lambda _, kind=kind: seen.append(kind))  # type: ignore[misc]
    future.add_done_callback(lambda _: done.set())
    assert done.wait(20)
    assert seen == [ValueError, KeyboardInterrupt, SystemExit]
    assert caplog.text.count("exception calling callback for <CallFuture") == 3
    future.add_done_callback(lambda _: functions.raise_one(KeyboardInterrupt))
    future.add_done_callback(seen.append)
    assert seen[-1] is future  # of a finished future it is called at once


def test_a_ctrl_c_during_a_callback_gets_out(executor: AgentExecutor) -> None:
    future = executor.submit(functions.even, 2)
    future.result()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        future.add_done_callback(lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_process_that_a_function_forks_may_exit() -> None:
    def fork() -> int:
        child = os.fork()
        if child == 0:
            sys.exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with AgentExecutor(1) as executor:
        assert executor.submit(fork).result(20) == 7
        assert list(executor.map(lambda _: fork(), range(2), chunksize=2)) == [7, 7]
