"""What a shutdown finishes, cancels and ends; what a block does that is left by Ctrl-C."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import gc
import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from procorch import Aborted, AgentExecutor, AgentPool, AgentStopped, Backoff
from tests.executor import functions

# map, read or not


@pytest.mark.parametrize("chunksize", [None, 1, 4, 100])
def test_a_map_that_nobody_reads_is_done(tmp_path: Path, chunksize: int | None) -> None:
    paths = [str(tmp_path / str(n)) for n in range(12)]
    with AgentExecutor(2) as executor:
        executor.map(functions.touch, paths, chunksize=chunksize)
    assert len(list(tmp_path.iterdir())) == 12


@pytest.mark.fault
@pytest.mark.parametrize("chunksize", [None, 8])
def test_failures_in_a_map_that_nobody_reads_cost_no_other_call(
    tmp_path: Path, chunksize: int | None
) -> None:
    names = ["0", "raise", "2", "die", "4", "die2", "6", "7"]
    with AgentExecutor(1, backoff=Backoff(initial=0)) as executor:
        executor.map(
            functions.touch_or_die, [str(tmp_path / n) for n in names], chunksize=chunksize
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "2", "4", "6", "7"]


@pytest.mark.parametrize("chunksize", [None, 1, 3, 20])
@pytest.mark.parametrize("end", ["with", "wait=False", "lost"])
def test_a_map_can_be_read_after_the_end(chunksize: int | None, end: str) -> None:
    executor: AgentExecutor | None = AgentExecutor(2)
    assert executor is not None
    mapped = executor.map(functions.nap, [0.01] * 12, chunksize=chunksize)
    if end == "with":
        with executor:
            pass
    elif end == "wait=False":
        executor.shutdown(wait=False)
    else:
        executor = None
        gc.collect()
    assert list(mapped) == [0.01] * 12


def test_what_a_buffered_map_has_not_sent_is_refused_after_the_end() -> None:
    with AgentExecutor(1) as executor:
        mapped = executor.map(functions.power, range(9), buffersize=3)
    assert [next(mapped) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        next(mapped)


@pytest.mark.parametrize("chunksize", [None, 1])
def test_leaving_a_map_cancels_what_was_not_begun(chunksize: int | None) -> None:
    with AgentExecutor(1) as executor:
        mapped = executor.map(functions.nap, [0, *[30] * 20], chunksize=chunksize)
        assert next(mapped) == 0
        mapped.close()  # type: ignore[attr-defined]
        assert executor.submit(functions.power, 2).result(20) == 4


def test_a_map_keeps_no_result() -> None:
    with AgentExecutor(1) as executor:
        for chunksize in (1, 2):
            for found in executor.map(Thing, range(4), chunksize=chunksize):
                alive = weakref.ref(found)
                del found
                gc.collect()
                assert alive() is None


class Thing:
    def __init__(self, number: int) -> None:
        self.number = number


def test_the_calls_of_a_map_that_were_not_begun_end_with_the_workers() -> None:
    executor = AgentExecutor(1)
    mapped = executor.map(functions.nap, [0, *[30] * 20])
    assert next(mapped) == 0
    executor.terminate_workers()
    with pytest.raises((Aborted, BrokenProcessPool)):
        list(mapped)


def test_a_map_that_is_left_in_the_middle_says_nothing_at_exit() -> None:
    code = """
from procorch import AgentExecutor
executor = AgentExecutor(1)
mapped = executor.map(abs, range(50), chunksize=5)
first = next(mapped)
"""
    assert run(code) == (0, "", "")


# cancel_futures


@pytest.mark.parametrize("how", ["submit", "map"])
def test_cancel_futures_ends_nothing_that_has_begun(tmp_path: Path, how: str) -> None:
    executor = AgentExecutor(2)
    folder = str(tmp_path)
    if how == "submit":
        futures = [executor.submit(functions.begin_and_end, folder, n) for n in range(20)]
    else:
        mapped = executor.map(functions.begin_and_end, [folder] * 20, range(20))
    while not any(tmp_path.iterdir()):
        time.sleep(0.005)
    executor.shutdown(cancel_futures=True)
    left = [path.suffix for path in tmp_path.iterdir()]
    assert 0 < left.count(".begun") == left.count(".ended") < 20
    if how == "submit":
        assert sum(not future.cancelled() for future in futures) == left.count(".ended")
        assert all(future.done() for future in futures)
    else:
        with pytest.raises(concurrent.futures.CancelledError):
            list(mapped)


# while the end is waited for


def test_limits_of_a_worker_hold_to_the_end() -> None:
    with AgentExecutor(1, max_tasks_per_child=1) as executor:
        futures = [executor.submit(functions.pid) for _ in range(4)]
    assert len({future.result() for future in futures}) == 4
    with AgentPool(lambda: functions.pid, workers=1, max_requests=2, recycle_jitter=0) as pool:
        replies = [pool.submit(n) for n in range(6)]
    counts = collections.Counter(reply.result().output for reply in replies)
    assert sorted(counts.values()) == [2, 2, 2]


@pytest.mark.fault
def test_a_death_while_the_end_is_waited_for_costs_one_call() -> None:
    with AgentExecutor(1, backoff=Backoff(initial=0)) as executor:
        dead = executor.submit(functions.die)
        others = [executor.submit(functions.power, n) for n in range(5)]
    assert isinstance(dead.exception(), BrokenProcessPool)
    assert [future.result() for future in others] == [0, 1, 4, 9, 16]


def test_a_closed_pool_takes_nothing() -> None:
    with AgentPool(lambda: functions.power, workers=1) as pool:
        results = pool.imap([2, 3])
    for use in (pool.submit, lambda n: pool.map([n]), lambda n: pool.imap([n])):
        with pytest.raises(AgentStopped, match="'pool': the pool is closed"):
            use(1)
    with pytest.raises(AgentStopped):
        next(results)


@pytest.mark.fault
def test_an_executor_whose_workers_have_ended_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flag = tmp_path / "flag"

    def initializer() -> None:
        if flag.exists():
            raise ValueError("the licence has expired")

    with AgentExecutor(1, None, initializer, max_restarts=1, backoff=Backoff(initial=0)) as broken:
        flag.touch()
        dead, waiting = broken.submit(functions.die), broken.submit(functions.pid)
        assert isinstance(dead.exception(), BrokenProcessPool)
        assert "the licence has expired" in str(waiting.exception())
        error: BaseException | None = None
        while error is None:
            try:
                broken.submit(functions.pid).exception()
            except BrokenProcessPool as refusal:
                error = refusal
        assert "the licence has expired" in str(error)
    assert "stopped by supervisor: agent 'executor' failed to start" in caplog.text


# Ctrl-C

BLOCKS = {
    "map": "with AgentExecutor(2) as e:\n    ready()\n    list(e.map(time.sleep, [60] * 9))",
    "result": """with AgentExecutor(2) as e:
    fs = [e.submit(time.sleep, 60) for _ in range(9)]
    ready()
    fs[0].result()""",
    "as_completed": """with AgentExecutor(2) as e:
    fs = [e.submit(time.sleep, 60) for _ in range(9)]
    ready()
    list(concurrent.futures.as_completed(fs))""",
    "leaving": """with AgentExecutor(2) as e:
    fs = [e.submit(time.sleep, 60) for _ in range(9)]
    ready()""",
    "no block": """e = AgentExecutor(2)
fs = [e.submit(time.sleep, 60) for _ in range(9)]
ready()
time.sleep(60)""",
    "at exit": """e = AgentExecutor(2)
fs = [e.submit(time.sleep, 60) for _ in range(9)]
ready()""",
    "not waited for": """e = AgentExecutor(2)
fs = [e.submit(time.sleep, 60) for _ in range(9)]
e.shutdown(wait=False)
ready()
time.sleep(60)""",
    "a coroutine": """async def main():
    with AgentExecutor(2) as e:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(e, time.sleep, 60) for _ in range(9)]
        ready()
        await asyncio.gather(*calls)
asyncio.run(main())""",
    "a pool": "with AgentPool(lambda: time.sleep, 2) as p:\n    ready()\n    p.map([60] * 9)",
    "leaving a pool": """with AgentPool(lambda: time.sleep, 2) as p:
    fs = [p.submit(60) for _ in range(9)]
    ready()""",
    "leaving an orchestrator": """with AgentOrchestrator() as o:
    o.add_agent("a", lambda: time.sleep)
    fs = [o.spawn("a").submit(60) for _ in range(2)]
    ready()""",
    "leaving a pool in a coroutine": """async def main():
    async with AgentPool(lambda: time.sleep, 2) as p:
        fs = [p.submit(60) for _ in range(9)]
        ready()
asyncio.run(main())""",
    "leaving an orchestrator in a coroutine": """async def main():
    async with AgentOrchestrator() as o:
        o.add_agent("a", lambda: time.sleep)
        fs = [o.spawn("a").submit(60) for _ in range(2)]
        ready()
asyncio.run(main())""",
}
HEAD = """
import asyncio, concurrent.futures, os, threading, time
from procorch import AgentExecutor, AgentOrchestrator, AgentPool
def ready():
    os.write(1, b"ready")
"""


@pytest.mark.parametrize("block", BLOCKS)
def test_one_ctrl_c_ends_everything_soon(block: str) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", HEAD + BLOCKS[block]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert program.stdout is not None
        assert program.stdout.read(5) == "ready"
        time.sleep(0.3)  # until it has gone on to wait, whatever for
        os.killpg(program.pid, signal.SIGINT)
        errors = program.communicate(timeout=25)[1]
    finally:
        program.kill()
    assert "KeyboardInterrupt" in errors
    assert len(errors.splitlines()) < 60


def test_cancelling_an_asynchronous_close_aborts_what_is_left() -> None:
    async def close() -> Any:
        pool = AgentPool(lambda: time.sleep, 1)
        future = pool.submit(60)
        closing = asyncio.ensure_future(pool.aclose(timeout=50))
        await asyncio.sleep(0)  # it begins
        closing.cancel()
        await asyncio.wait([closing], timeout=20)
        assert closing.cancelled()
        return future.exception(20)

    assert isinstance(asyncio.run(close()), Aborted)


def test_workers_hear_a_ctrl_c(tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / "begun").touch()
        try:
            time.sleep(60)
        finally:
            (tmp_path / "heard").touch()

    def interrupted() -> Any:
        with AgentExecutor(1) as executor:
            future = executor.submit(work)
            while not (tmp_path / "begun").exists():
                time.sleep(0.01)
            try:
                raise KeyboardInterrupt
            finally:
                asked.append(future)

    asked: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "heard").exists()
    assert isinstance(asked[0].exception(), Aborted)


def test_another_exception_waits_for_the_calls_as_ever() -> None:
    def left() -> Any:
        with AgentExecutor(1) as executor:
            futures.append(executor.submit(functions.nap, 0.2))
            raise ValueError("of the block")

    futures: list[Any] = []
    with pytest.raises(ValueError, match="of the block"):
        left()
    assert futures[0].result() == 0.2


def test_workers_can_be_terminated_and_killed() -> None:
    for end in (AgentExecutor.terminate_workers, AgentExecutor.kill_workers):
        executor = AgentExecutor(1)
        futures = [executor.submit(functions.nap, 60) for _ in range(3)]
        began = time.monotonic()
        end(executor)
        assert time.monotonic() - began < 20
        for future in futures:
            assert isinstance(future.exception(), Aborted)
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(functions.pid)


# From signal handlers, finalizers, callbacks, and while others are in the middle of something


class Raiser:
    """Sends a signal while it is serialised."""

    def __reduce__(self) -> Any:
        signal.raise_signal(signal.SIGUSR1)
        return int, (5,)


@pytest.fixture
def on_signal() -> Any:
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda act: signal.signal(signal.SIGUSR1, lambda *_: act())
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_handler_may_submit_and_wait_in_the_middle_of_a_submit(on_signal: Any) -> None:
    with AgentExecutor(1) as executor:
        got: list[Any] = []
        on_signal(lambda: got.append(executor.submit(functions.power, 3).result(20)))
        assert executor.submit(functions.power, Raiser()).result(20) == 25
        assert list(executor.map(functions.power, [Raiser()])) == [25]
    assert got == [9, 9]


@pytest.mark.parametrize("wait", [True, False])
def test_a_signal_handler_may_shut_down_in_the_middle_of_a_submit(
    on_signal: Any, wait: bool
) -> None:
    executor = AgentExecutor(1)
    on_signal(lambda: executor.shutdown(wait=wait, cancel_futures=True))
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(functions.power, Raiser())
    executor.shutdown()


def test_a_slow_pickle_delays_no_other_thread() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        def __reduce__(self) -> Any:
            begun.set()
            assert go_on.wait(20)
            return int, (7,)

    with AgentExecutor(2) as executor, concurrent.futures.ThreadPoolExecutor(1) as thread:
        slow = thread.submit(lambda: executor.submit(functions.power, Slow()).result(20))
        assert begun.wait(20)
        assert executor.submit(functions.power, 3).result(20) == 9
        go_on.set()
        assert slow.result(20) == 49


def test_a_callback_may_shut_down() -> None:
    executor = AgentExecutor(1)
    done = threading.Event()

    def end(_: Any) -> None:
        executor.shutdown()
        done.set()

    executor.submit(functions.nap, 0.1).add_done_callback(end)
    assert done.wait(20)


def test_finalizers_and_weak_references_may_submit_and_shut_down() -> None:
    executor = AgentExecutor(1)
    futures: list[Any] = []

    class Owner:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            futures.append(executor.submit(functions.power, 6))

    thing = Thing(1)
    watch = weakref.ref(thing, lambda _: futures.append(executor.submit(functions.power, 7)))
    Owner()
    del thing
    gc.collect()
    assert sorted(future.result(20) for future in futures) == [36, 49]
    del watch

    class Ender(Owner):
        def __del__(self) -> None:
            executor.shutdown()

    Ender()
    gc.collect()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(functions.pid)


def test_a_cancelled_task_does_not_wait_for_the_calls() -> None:
    async def call() -> None:
        with AgentExecutor(1) as executor:
            await asyncio.get_running_loop().run_in_executor(executor, time.sleep, 60)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(call(), 0.5))
    assert time.monotonic() - began < 25


def run(code: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    return done.returncode, done.stdout, done.stderr


# map over an input that takes its time


def test_an_input_may_wait_for_the_results_of_a_map() -> None:
    numbers: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    numbers.put(1)
    with AgentExecutor(2) as executor:
        found = []
        for result in executor.map(functions.double, iter(numbers.get, None), buffersize=4):
            found.append(result)
            numbers.put(result if result < 30 else None)
    assert found == [2, 4, 8, 16, 32]


def test_what_a_slow_input_raises_comes_after_the_results() -> None:
    def numbers() -> Any:
        yield from (1, 2)
        raise KeyError("of the input")

    with AgentExecutor(1) as executor:
        results = executor.map(functions.double, numbers(), buffersize=3)
        assert [next(results), next(results)] == [2, 4]
        with pytest.raises(KeyError, match="of the input"):
            next(results)
        assert list(results) == []


@pytest.mark.parametrize("kept", [True, False])
def test_a_buffer_that_nobody_reads_is_done(tmp_path: Path, kept: bool) -> None:
    taken = []
    later = threading.Event()  # when the shutdown waits, most likely

    def paths() -> Any:
        for n in range(9):
            taken.append(n)
            later.wait(20)
            yield str(tmp_path / str(n))

    with AgentExecutor(2) as executor:
        results: Any = executor.map(functions.touch, paths(), buffersize=4)
        if not kept:
            del results
        threading.Timer(0.3, later.set).start()
    assert taken == [0, 1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3"]
    if kept:
        with pytest.raises(RuntimeError, match="after shutdown"):
            list(results)


def test_a_shutdown_waits_for_no_input_that_is_cancelled_or_was_read_from() -> None:
    never = threading.Event()

    def numbers() -> Any:
        yield 1
        never.wait()

    executor = AgentExecutor(1)
    executor.map(functions.double, numbers(), buffersize=3)
    executor.shutdown(cancel_futures=True)
    with AgentExecutor(1) as executor:
        results = executor.map(functions.double, numbers(), buffersize=3)
        assert next(results) == 2
    with AgentExecutor(1) as executor:
        results = executor.map(functions.double, numbers(), buffersize=3, timeout=0.5)
        assert next(results) == 2
        with pytest.raises(TimeoutError):
            next(results)
    never.set()


def test_what_is_sent_when_its_map_was_left_is_cancelled(tmp_path: Path) -> None:
    begun, left = threading.Event(), threading.Event()

    class Late:
        def __reduce__(self) -> Any:
            begun.set()
            assert left.wait(20)
            return str, (str(tmp_path / "called"),)

    with AgentExecutor(1) as executor:
        results = executor.map(
            functions.touch, iter([str(tmp_path / "first"), Late()]), buffersize=1
        )
        next(results)
        busy = executor.submit(functions.nap, 60)
        assert begun.wait(20)
        readers = [each for each in threading.enumerate() if each.name == "procorch-input"]
        del results
        left.set()
        for thread in readers:
            thread.join(20)
        busy.cancel()
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_the_thread_of_an_input_ends_with_its_map() -> None:
    def readers() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "procorch-input"]

    with AgentExecutor(1) as executor:
        for read in (0, 1, 9):
            results = executor.map(functions.double, iter(range(9)), buffersize=2)
            list(itertools.islice(results, read))
            left = readers()
            del results
            for thread in left:
                thread.join(20)
            assert readers() == []
