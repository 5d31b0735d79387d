"""The promises of `concurrent.futures`, kept; and those it does not make."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pickle import PicklingError
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentExecutor,
    AgentFailure,
    AgentHung,
    AgentResult,
    Backoff,
    MemoryLimitExceeded,
    RequestTimeout,
    SerializationError,
    Shutdown,
    StartError,
)
from tests.executor import functions

QUICK = Shutdown(cooperate=0.05, interrupt=0.3, grace=0.5, terminate=0.2)


@pytest.fixture
def executor() -> Iterator[AgentExecutor]:
    with AgentExecutor(2, backoff=Backoff(initial=0), shutdown=QUICK) as made:
        yield made


# Calls


def test_a_worker_loads_nothing_of_the_side_that_calls(executor: AgentExecutor) -> None:
    def loaded() -> list[str]:
        import sys

        return [name for name in sys.modules if name.startswith("procorch.")]

    modules = executor.submit(loaded).result()
    assert "procorch.executor.call" in modules
    rooms = {name.split(".")[1] for name in modules}
    assert not rooms & {"api", "runtime", "pool", "futures", "supervision"}, rooms


def test_a_call_has_its_arguments_and_its_result(executor: AgentExecutor) -> None:
    assert executor.submit(functions.power, 3).result() == 9
    assert executor.submit(functions.power, 3, 3, plus=1).result() == 28
    assert executor.submit(functions.pid).result() != os.getpid()
    assert executor.submit(partial(functions.power, plus=5), 2).result() == 9
    result = AgentResult(output=1)
    assert executor.submit(functions.add, (result,), ()).result() == (result,)


def test_whatever_can_be_called_can_be_sent(executor: AgentExecutor) -> None:
    offset = 5

    def closure(x):
        return x + offset

    class Adder:
        def __call__(self, x):
            return x + 1

        def method(self, x):
            return x + 2

    calls = (lambda x: x, closure, Adder(), Adder().method, abs)
    assert [executor.submit(call, 1).result() for call in calls] == [1, 6, 2, 3, 1]
    assert list(executor.map(lambda x: x * offset, range(3))) == [0, 5, 10]
    assert list(executor.map(closure, range(10), chunksize=4)) == list(range(5, 15))


def test_an_exception_comes_as_it_was_raised_with_the_traceback_as_its_cause(
    executor: AgentExecutor,
) -> None:
    future = executor.submit(functions.even, 3)
    error = future.exception()
    assert type(error) is ValueError
    assert str(error) == "3 is odd"
    assert future.exception() is error
    shown = "".join(traceback.format_exception(error))
    assert 'raise ValueError(f"{x} is odd")' in shown
    assert "The above exception was the direct cause" in shown
    with pytest.raises(ValueError, match="3 is odd"):
        future.result()


def test_an_exception_that_does_not_load_is_described(executor: AgentExecutor) -> None:
    error = executor.submit(functions.odd, 3).exception()
    assert isinstance(error, AgentFailure)
    assert error.exc_type == "tests.executor.functions.Odd"
    assert "raise Odd(x, x)" in error.remote_traceback
    assert executor.submit(functions.even, 2).result() == 2


def test_exits_and_interrupts_are_the_callers(executor: AgentExecutor) -> None:
    before = executor.submit(functions.pid).result()
    exit_ = executor.submit(functions.leave, 3).exception()
    assert isinstance(exit_, SystemExit)
    assert exit_.code == 3
    assert isinstance(executor.submit(functions.interrupt).exception(), KeyboardInterrupt)
    assert before in {executor.submit(functions.pid).result() for _ in range(10)}


def test_a_call_that_cannot_be_sent_fails_its_future(executor: AgentExecutor) -> None:
    refused = executor.submit(functions.power, threading.Lock())
    with pytest.raises(SerializationError, match="lock") as caught:
        refused.result()
    assert isinstance(caught.value, pickle.PicklingError)
    with pytest.raises(TypeError, match="fn must be a callable, not int"):
        executor.submit(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="fn must be a callable"):
        executor.map(None, [1])  # type: ignore[arg-type]
    future = executor.submit(threading.Lock)
    assert isinstance(future.exception(), SerializationError)


# States, callbacks, waiting


def test_a_future_goes_through_its_states() -> None:
    with AgentExecutor(1) as executor:
        running, waiting = executor.submit(functions.nap, 0.3), executor.submit(functions.pid)
        while not running.running():
            time.sleep(0.001)
        assert (running.done(), waiting.running(), waiting.done()) == (False, False, False)
        assert waiting.cancel()
        assert waiting.cancelled()
        assert running.result(10) == 0.3
        assert (running.running(), running.done(), running.cancelled()) == (False, True, False)
        with pytest.raises(concurrent.futures.CancelledError):
            waiting.result()
        assert not running.cancel()


def test_callbacks_get_the_future_whenever_they_are_added(executor: AgentExecutor) -> None:
    got: Any = []
    done = threading.Event()
    future = executor.submit(functions.even, 1)
    future.add_done_callback(got.append)
    future.add_done_callback(lambda _: done.set())
    assert done.wait(10)
    late = threading.Event()
    future.add_done_callback(lambda _: late.set())
    assert late.wait(10)
    assert got == [future]


def test_wait_and_as_completed_know_these_futures(executor: AgentExecutor) -> None:
    futures = [executor.submit(functions.nap, s) for s in (0.2, 0.01)]
    done, left = wait(futures, return_when=FIRST_COMPLETED)
    assert (done, left) == ({futures[1]}, {futures[0]})
    assert [future.result() for future in as_completed(futures)] == [0.01, 0.2]
    done, left = wait([*futures, executor.submit(functions.even, 1)], return_when=FIRST_EXCEPTION)
    assert not left
    slow = executor.submit(functions.nap, 5)
    assert wait([slow], timeout=0.01, return_when=ALL_COMPLETED).not_done == {slow}
    with pytest.raises(TimeoutError):
        slow.result(0.01)
    with pytest.raises(TimeoutError):
        list(as_completed([slow], timeout=0.01))
    slow.cancel()


# map


def test_map_is_like_the_built_in(executor: AgentExecutor) -> None:
    assert list(executor.map(functions.power, range(10))) == [x * x for x in range(10)]
    assert list(executor.map(functions.power, (2, 3), itertools.count(1))) == [2, 9]
    assert list(executor.map(functions.pid, [])) == []
    for chunksize in (1, 3, 100):
        mapped = executor.map(functions.add, range(50), range(50), chunksize=chunksize)
        assert list(mapped) == [2 * x for x in range(50)]


def test_results_of_one_chunk_may_be_of_any_kind(executor: AgentExecutor) -> None:
    found = [1, [2], "three", None, {"four": 4}, 5]
    for chunksize in (1, 3, 6):
        assert list(executor.map(functions.same, found, chunksize=chunksize)) == found


def test_many_short_calls_go_together_and_long_ones_do_not(executor: AgentExecutor) -> None:
    assert list(executor.map(functions.power, range(20_000))) == [n * n for n in range(20_000)]
    found = list(executor.map(functions.add, map(str, range(5_000)), itertools.repeat("x")))
    assert found == [f"{n}x" for n in range(5_000)]
    assert len(set(executor.map(functions.nap_and_pid, [0.1] * 6))) == 2


def test_calls_that_a_worker_gives_back_are_made_by_another_one(executor: AgentExecutor) -> None:
    naps = [0.0] * 500 + [0.1] * 3 + [0.0] * 500
    assert list(executor.map(functions.nap, naps)) == naps


@pytest.mark.fault
def test_a_death_among_many_short_calls_is_its_own(executor: AgentExecutor) -> None:
    mapped = executor.map(functions.die_at, [77] * 500, range(500))
    assert list(itertools.islice(mapped, 77)) == list(range(77))
    with pytest.raises(BrokenProcessPool):
        next(mapped)


@pytest.mark.parametrize("items", [[1, 2, None, 4, 5, 6], [[1], [2], None, [4], [5], [6]]])
def test_a_call_that_cannot_be_sent_fails_alone(executor: AgentExecutor, items: list[Any]) -> None:
    items[2] = sqlite3.connect(":memory:")
    try:
        mapped = executor.map(functions.same, items)
        assert [next(mapped), next(mapped)] == items[:2]
        with pytest.raises(PicklingError):
            next(mapped)
    finally:
        items[2].close()


def test_map_begins_at_once_and_takes_all_of_its_input(executor: AgentExecutor) -> None:
    taken = []

    def items() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    mapped = executor.map(functions.power, items())
    assert len(taken) == 100
    assert next(mapped) == 0


def test_a_buffersize_takes_the_input_as_the_results_are(executor: AgentExecutor) -> None:
    taken = 0
    four = threading.Event()

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            if taken == 4:
                four.set()
            yield taken

    mapped = executor.map(functions.power, endless(), buffersize=4)
    assert four.wait(20)
    assert taken == 4
    for count in range(1, 30):
        assert next(mapped) == count**2
        assert taken <= count + 4
    mapped.close()


def test_map_raises_where_the_item_failed_and_cancels_the_rest(executor: AgentExecutor) -> None:
    for chunksize in (1, 4):
        mapped = executor.map(functions.even, [0, 2, 3, 4, 5], chunksize=chunksize)
        assert [next(mapped), next(mapped)] == [0, 2]
        with pytest.raises(ValueError, match="3 is odd") as caught:
            next(mapped)
        assert "raise ValueError" in str(caught.value.__cause__)
        with pytest.raises(StopIteration):
            next(mapped)


def test_map_has_a_timeout_for_the_whole(executor: AgentExecutor) -> None:
    mapped = executor.map(functions.nap, [0, 5, 5], timeout=0.3)
    assert next(mapped) == 0
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        next(mapped)
    assert time.monotonic() - began < 3
    assert executor.submit(functions.power, 2).result(10) == 4  # the others were cancelled


@pytest.mark.fault
def test_a_death_in_a_chunk_is_its_items_own(executor: AgentExecutor) -> None:
    mapped = executor.map(functions.die_at_five, range(10), chunksize=10)
    assert [next(mapped) for _ in range(5)] == list(range(5))
    with pytest.raises(BrokenProcessPool) as caught:
        next(mapped)
    assert isinstance(caught.value, AgentCrashed)
    assert caught.value.exitcode == 7


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"chunksize": 0}, "chunksize must be 1 or more"),
        ({"buffersize": 0}, "buffersize must be 1 or more"),
        ({"buffersize": "2"}, "buffersize must be a whole number"),
    ],
)
def test_map_refuses_what_makes_no_sense(
    executor: AgentExecutor, wrong: dict[str, Any], text: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        executor.map(functions.power, [1], **wrong)


# Deaths, time, cancelling


@pytest.mark.fault
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV", 0, 3])
def test_a_dead_worker_fails_its_own_future_and_nobody_elses(
    executor: AgentExecutor, how: Any
) -> None:
    futures = [executor.submit(functions.nap, 0.01) for _ in range(4)]
    dead = executor.submit(functions.die, how)
    futures += [executor.submit(functions.nap, 0.01) for _ in range(4)]
    error = dead.exception()
    assert isinstance(error, AgentCrashed)
    assert isinstance(error, BrokenProcessPool)
    assert error.signal == how if isinstance(how, str) else error.exitcode == how
    assert [future.result() for future in futures] == [0.01] * 8
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


@pytest.mark.fault
def test_hung_and_overgrown_calls_are_broken_too() -> None:
    with AgentExecutor(1, heartbeat_timeout=0.3, shutdown=QUICK) as executor:
        error = executor.submit(functions.nap, 30).exception()
    assert isinstance(error, AgentHung)
    assert isinstance(error, BrokenProcessPool)
    with AgentExecutor(1, memory_limit="100M") as executor:
        error = executor.submit(lambda: (b"x" * (300 << 20), functions.nap(5))).exception()
    assert isinstance(error, MemoryLimitExceeded)
    assert isinstance(error, BrokenProcessPool)


def test_a_call_may_have_a_timeout(executor: AgentExecutor) -> None:
    began = time.monotonic()
    error = executor.submit(functions.nap, 30, timeout=0.2).exception()
    assert isinstance(error, RequestTimeout)
    assert isinstance(error, TimeoutError)
    assert time.monotonic() - began < 10
    assert executor.submit(functions.nap, 0, timeout="5s").result() == 0


def test_cancelling_ends_a_call_that_runs(executor: AgentExecutor) -> None:
    future = executor.submit(functions.nap, 30)
    while not future.running():
        time.sleep(0.001)
    assert future.cancel()
    assert future.cancelled()
    assert [executor.submit(functions.power, 2).result(10) for _ in range(4)] == [4] * 4


# Beginning and end


def test_the_initializer_runs_in_each_worker_at_every_start() -> None:
    with AgentExecutor(
        1, None, functions.remember, ("a", 1), max_tasks_per_child=1, recycle_jitter=0
    ) as executor:
        assert [executor.submit(functions.state).result() for _ in range(3)] == [["a", 1]] * 3
        assert len({executor.submit(functions.pid).result() for _ in range(3)}) == 3


def test_an_initializer_that_fails_breaks_the_executor_with_the_reason() -> None:
    with AgentExecutor(1, initializer=functions.even, initargs=(1,)) as executor:
        for call in (executor.submit, executor.map):
            with pytest.raises(BrokenProcessPool, match=r"ValueError: 1 is odd") as caught:
                call(functions.pid)
            assert isinstance(caught.value, StartError)
    with pytest.raises(BrokenProcessPool, match=r"ValueError: 1 is odd"):
        executor.info()
    with pytest.raises(TypeError, match="initializer must be a callable"):
        AgentExecutor(1, initializer=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        AgentExecutor(0)


def test_a_shutdown_finishes_what_was_taken_and_takes_no_more() -> None:
    executor = AgentExecutor(1)
    futures = [executor.submit(functions.nap, 0.02) for _ in range(5)]
    executor.shutdown()
    assert [future.result() for future in futures] == [0.02] * 5
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(functions.pid)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.map(functions.pid, [1])
    executor.shutdown()


def test_a_shutdown_need_not_be_waited_for() -> None:
    executor = AgentExecutor(1)
    future = executor.submit(functions.nap, 0.3)
    began = time.monotonic()
    executor.shutdown(wait=False)
    assert time.monotonic() - began < 0.25
    assert future.result() == 0.3
    executor.shutdown(wait=True)


def test_a_shutdown_may_cancel_what_has_not_begun() -> None:
    executor = AgentExecutor(1)
    running = executor.submit(functions.nap, 0.3)
    waiting = [executor.submit(functions.nap, 5) for _ in range(3)]
    while not running.running():
        time.sleep(0.001)
    executor.shutdown(cancel_futures=True)
    assert running.result() == 0.3
    assert all(future.cancelled() for future in waiting)


def test_an_executor_that_is_lost_ends_when_its_calls_have() -> None:
    future = AgentExecutor(1).submit(functions.nap, 0.1)
    assert future.result() == 0.1


@pytest.mark.parametrize("end", ["", "del executor", "executor.shutdown(wait=False)"])
def test_an_interpreter_that_exits_waits_for_the_calls(end: str) -> None:
    script = f"""
import time
from procorch import AgentExecutor

def work(x):
    time.sleep(0.3)
    return x

executor = AgentExecutor(1)
executor.submit(work, 1).add_done_callback(lambda future: print("done", future.result()))
{end}
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=40
    )
    assert (done.stdout, done.stderr, done.returncode) == ("done 1\n", "", 0)


def test_nothing_can_be_submitted_after_the_exit_has_waited() -> None:
    script = """
import atexit

def late():
    try:
        executor.submit(abs, 1)
    except RuntimeError as error:
        print(error)

atexit.register(late)
from procorch import AgentExecutor
executor = AgentExecutor(1)
executor.submit(abs, 1).result()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=40
    )
    said = "cannot schedule new futures after shutdown\n"
    assert (done.stdout, done.stderr, done.returncode) == (said, "", 0)


# Others who use executors


def test_asyncio_runs_calls_in_it(executor: AgentExecutor) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(executor, functions.power, 3) == 9
        with pytest.raises(ValueError, match="odd"):
            await loop.run_in_executor(executor, functions.even, 1)
        with pytest.raises(BrokenProcessPool):
            await loop.run_in_executor(executor, functions.die)
        slow = loop.run_in_executor(executor, functions.nap, 30)
        await asyncio.sleep(0.05)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert await asyncio.gather(
            *(loop.run_in_executor(executor, functions.power, n) for n in range(4))
        ) == [0, 1, 4, 9]
        assert await executor.submit(functions.power, 4) == 16

    asyncio.run(run())


def test_a_future_carries_its_figures(executor: AgentExecutor) -> None:
    future = executor.submit(functions.nap, 0.05)
    future.result()
    assert future.metrics is not None
    assert future.metrics.wall >= 0.05


def test_the_executor_shows_what_it_is(executor: AgentExecutor) -> None:
    assert repr(executor) == "<AgentExecutor 'executor' workers=2>"
    assert executor.info().workers == 2
    assert isinstance(executor, concurrent.futures.Executor)
    os.kill(executor.info().replicas[0].pid, signal.SIGKILL)
    assert list(executor.map(functions.power, range(4))) == [0, 1, 4, 9]
