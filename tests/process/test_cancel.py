"""The ladder that ends one request, or one agent, on real processes (N8, N14)."""

from __future__ import annotations

import concurrent.futures
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    Aborted,
    AgentOrchestrator,
    AgentStatus,
    OrchestratedHandle,
    ReplyFuture,
    RequestCancelled,
    RequestTimeout,
    Shutdown,
)
from procorch.worker.interrupts import CANCEL

Start = Callable[..., OrchestratedHandle]
Orchestrator = Callable[..., AgentOrchestrator]
GateMaker = Callable[[], Any]

QUICK = Shutdown(cooperate=0.05, interrupt=30, grace=30, terminate=30)
"""A ladder on which nobody gets as far as SIGTERM by mere slowness of the machine."""
STEEP = Shutdown(cooperate=0.05, interrupt=0.05, grace=0.05, terminate=0.1)
"""One for those who are to be ended by force."""


def stuck(tell: Callable[..., None]) -> Callable[[], Any]:
    """A sync agent that gets stuck in every way there is, after it has told that it began.

    It answers "state" with its pid, the requests it has had, and what it noted down.
    """

    def factory():
        import ctypes
        import hashlib
        import itertools
        import os
        import signal
        import socket
        import threading
        import time

        import procorch

        state = {"requests": 0, "notes": []}

        def loop():
            while True:
                pass

        def sleep():
            time.sleep(1000)

        def receive():
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.recv(1)

        def event():
            threading.Event().wait()

        def cooperative():
            while not procorch.current().cancelled:
                time.sleep(0.001)
            state["notes"].append("stopped by itself")

        def tidy():
            try:
                time.sleep(1000)
            finally:
                state["notes"].append("tidied up")

        def robust():
            while True:
                try:
                    time.sleep(1000)
                except Exception:
                    state["notes"].append("caught")

        def headstrong():
            while True:
                try:
                    time.sleep(1000)
                except BaseException:
                    state["notes"].append("caught everything")

        def native():
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)

        def native_with_the_lock():
            sum(itertools.repeat(1))

        def deaf():
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            ctypes.CDLL(None).sleep(1000)

        ways = [
            loop, sleep, receive, event, cooperative, tidy, robust, headstrong, native,
            native_with_the_lock, deaf,
        ]  # fmt: skip
        by_name = {way.__name__: way for way in ways}

        def handle(x):
            state["requests"] += 1
            if x in by_name:
                tell()
                by_name[x]()
            return os.getpid(), state["requests"], state["notes"]

        return handle

    return factory


def stuck_async(tell: Callable[..., None]) -> Callable[[], Any]:
    """The same for an async agent."""

    def factory():
        import asyncio
        import os
        import time

        state = {"requests": 0, "notes": []}

        async def awaiting():
            await asyncio.sleep(1000)

        async def gathering():
            await asyncio.gather(*(asyncio.sleep(1000) for _ in range(3)))

        async def blocking():
            time.sleep(1000)

        async def spinning():
            while True:
                await asyncio.sleep(0)

        async def looping():
            while True:
                pass

        async def tidy():
            try:
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(0)
                state["notes"].append("tidied up")

        async def tidy_after_blocking():
            try:
                time.sleep(1000)
            finally:
                await asyncio.sleep(0)
                state["notes"].append("tidied up")

        async def swallowing():
            while True:
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    state["notes"].append("swallowed")

        async def headstrong():
            while True:
                try:
                    await asyncio.sleep(1000)
                except BaseException:
                    state["notes"].append("swallowed everything")

        ways = [
            awaiting, gathering, blocking, spinning, looping, tidy, tidy_after_blocking, swallowing,
            headstrong,
        ]  # fmt: skip
        by_name = {way.__name__: way for way in ways}

        async def handle(x):
            state["requests"] += 1
            if x in by_name:
                tell()
                await by_name[x]()
            return os.getpid(), state["requests"], state["notes"]

        return handle

    return factory


SYNC = stuck, ["loop", "sleep", "receive", "event"]
ASYNC = stuck_async, ["awaiting", "gathering", "blocking", "spinning", "looping"]


def cancelled(handle: OrchestratedHandle, way: str, begun: Any) -> ReplyFuture:
    """Send a request, cancel it when it has begun, and see that it counts as cancelled."""
    reply = handle.deliver(way)
    begun.line()
    assert reply.cancel()
    with pytest.raises(RequestCancelled) as caught:
        reply.result()
    assert isinstance(caught.value, Aborted | concurrent.futures.CancelledError)
    assert caught.value.agent == "a"
    assert caught.value.request == reply.request
    return reply


# ---- a request that can be interrupted leaves the worker and its state alive


@pytest.mark.parametrize(("agent", "ways"), [SYNC, ASYNC], ids=["sync", "async"])
def test_a_cancelled_request_ends_and_its_worker_lives_on(
    start: Start, gate: GateMaker, agent: Any, ways: list[str]
) -> None:
    """N8: by a flag or task cancellation, then by an exception in the agent's code."""
    begun = gate()
    handle = start(agent(begun.tell), shutdown=QUICK)
    pid = handle.pid
    for count, way in enumerate(ways, 1):
        cancelled(handle, way, begun)
        assert handle.deliver("state").result().output == (pid, 2 * count, []), way
    assert handle.generation == 1


@pytest.mark.parametrize(("agent", "ways"), [SYNC, ASYNC], ids=["sync", "async"])
def test_a_request_out_of_time_costs_no_worker_either(
    start: Start, gate: GateMaker, agent: Any, ways: list[str]
) -> None:
    """N8, N3: the deadline kills the request, not the agent's future."""
    begun = gate()
    handle = start(agent(begun.tell), shutdown=QUICK)
    pid = handle.pid
    for count, way in enumerate(ways[:2], 1):
        reply = handle.deliver(way, timeout=0.2)
        with pytest.raises(RequestTimeout, match=r"not answered within 0\.2 s$") as caught:
            reply.result()
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.ran
        assert handle.deliver("state").result().output == (pid, 2 * count, []), way


def test_the_default_deadline_of_an_agent_works_the_same_way(start: Start, gate: GateMaker) -> None:
    """N8."""
    begun = gate()
    handle = start(stuck(begun.tell), shutdown=QUICK, request_timeout="200ms")
    pid = handle.pid
    assert isinstance(handle.deliver("loop").exception(), RequestTimeout)
    assert handle.deliver("state").result().output == (pid, 2, [])


@pytest.mark.parametrize(
    ("agent", "way", "note"),
    [
        (stuck, "cooperative", "stopped by itself"),
        (stuck, "tidy", "tidied up"),
        (stuck_async, "tidy", "tidied up"),
        (stuck_async, "tidy_after_blocking", "tidied up"),
    ],
)
def test_code_may_notice_and_tidy_up(
    start: Start, gate: GateMaker, agent: Any, way: str, note: str
) -> None:
    """N8: its next request finds what it left."""
    begun = gate()
    handle = start(agent(begun.tell), shutdown=QUICK)
    pid = handle.pid
    cancelled(handle, way, begun)
    assert handle.deliver("state").result().output == (pid, 2, [note])


def test_a_cooperative_agent_is_never_interrupted(start: Start, gate: GateMaker) -> None:
    """N8: it has all the time of the first stage."""
    begun = gate()
    handle = start(stuck(begun.tell), shutdown=Shutdown(cooperate=60))
    pid = handle.pid
    cancelled(handle, "cooperative", begun)
    assert handle.deliver("state").result().output == (pid, 2, ["stopped by itself"])


def test_code_that_handles_its_own_errors_does_not_handle_the_interrupt(
    start: Start, gate: GateMaker
) -> None:
    """N8: it is no `Exception`."""
    begun = gate()
    handle = start(stuck(begun.tell), shutdown=QUICK)
    pid = handle.pid
    cancelled(handle, "robust", begun)
    assert handle.deliver("state").result().output == (pid, 2, [])


def test_a_coroutine_that_swallows_its_cancellation_is_interrupted_all_the_same(
    start: Start, gate: GateMaker
) -> None:
    """N8: the second stage is not a `CancelledError`."""
    begun = gate()
    handle = start(stuck_async(begun.tell), shutdown=QUICK)
    pid = handle.pid
    cancelled(handle, "swallowing", begun)
    assert handle.deliver("state").result().output == (pid, 2, ["swallowed"])
    cancelled(handle, "awaiting", begun)
    assert handle.deliver("state").result().output == (pid, 4, ["swallowed"])


def test_a_hail_of_signals_costs_neither_the_worker_nor_its_event_loop(
    start: Start, gate: GateMaker
) -> None:
    """N8: one may come while the one before is handled, or where Python drops exceptions."""
    begun = gate()
    handle = start(stuck_async(begun.tell), shutdown=Shutdown(cooperate=0, interrupt=30))
    pid, ended = handle.pid, threading.Event()

    def hail() -> None:
        while not ended.wait(0.0001):
            os.kill(pid, CANCEL)

    thread = threading.Thread(target=hail)
    thread.start()
    try:
        for _ in range(50):
            cancelled(handle, "swallowing", begun)
    finally:
        ended.set()
        thread.join()
    assert handle.deliver("state").result().output[:2] == (pid, 51)


@pytest.mark.parametrize("where", ["in __del__", "before there is a task"])
def test_an_interrupt_that_comes_to_nothing_comes_again_where_the_agent_waits(
    start: Start, gate: GateMaker, where: str, tmp_path: Path
) -> None:
    """N8: by then it waits in the event loop, which is not to be torn; and it swallows what it is
    told in a gentle way."""
    begun = gate()
    tell, path = begun.tell, str(tmp_path)
    (tmp_path / "imported_until_interrupted.py").write_text(
        "import signal\n"
        "from procorch.worker.interrupts import CANCEL, RAISE\n"
        "while signal.getsignal(CANCEL).__self__._last_force < RAISE:\n"
        "    pass\n"
    )

    def factory():
        import asyncio
        import contextlib
        import os
        import signal
        import sys
        import types

        from procorch.worker.interrupts import CANCEL, RAISE

        class Last:
            def __del__(self):
                gate = signal.getsignal(CANCEL).__self__
                signal.pthread_sigmask(signal.SIG_BLOCK, [CANCEL])  # the gentle way passes by
                tell()
                while gate._page.force(gate._request) < RAISE:
                    pass
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [CANCEL])
                while True:
                    pass

        async def swallowing():
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1000)

        def handle(x):
            if x == "in __del__":
                return deleting()
            if x == "state":
                return os.getpid()
            return waiting()

        async def deleting():
            last = Last()
            del last
            await swallowing()

        def waiting():
            tell()
            sys.path.append(path)
            import imported_until_interrupted  # noqa: F401  # nothing is thrown into an import

            return swallowing()

        return types.SimpleNamespace(handle=handle)

    handle = start(factory, shutdown=Shutdown(cooperate=0, interrupt=30))
    pid = handle.pid
    cancelled(handle, where, begun)
    assert handle.deliver("state").result(20).output == pid


def test_a_background_task_of_the_agent_is_left_alone(start: Start, gate: GateMaker) -> None:
    """N8: it belongs to no request, and the interrupt finds it at work most of the time."""
    begun = gate()
    tell = begun.tell

    def factory():
        import asyncio
        import contextlib
        import types

        ticks = []

        async def background():
            while True:
                ticks.append(sum(range(1000)))
                await asyncio.sleep(0)

        async def swallowing():
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1000)

        tasks = []

        async def ready():
            tasks.append(asyncio.create_task(background()))

        async def handle(x):
            if x == "work":
                tell()
                await swallowing()
            before = len(ticks)
            await asyncio.sleep(0.01)
            return tasks[0].done(), len(ticks) > before

        return types.SimpleNamespace(ready=ready, handle=handle)

    handle = start(factory, shutdown=Shutdown(cooperate=0, interrupt=30))
    for _ in range(10):
        cancelled(handle, "work", begun)
        assert handle.deliver("state").result().output == (False, True)
    assert handle.generation == 1


def test_one_request_after_the_other_can_be_cancelled(start: Start, gate: GateMaker) -> None:
    """N8: each has its own gate."""
    begun = gate()
    handle = start(stuck(begun.tell), shutdown=Shutdown(cooperate=0, interrupt=30))
    pid = handle.pid
    for way in ("loop", "sleep", "loop", "receive", "cooperative", "event"):
        cancelled(handle, way, begun)
    assert handle.deliver("state").result().output[:2] == (pid, 7)


# ---- and one that cannot is ended by force


@pytest.mark.parametrize(
    ("agent", "ways"),
    [
        (
            stuck,
            {
                "headstrong": "SIGTERM",
                "native": "SIGTERM",
                "native_with_the_lock": "SIGTERM",
                "deaf": "SIGKILL",
            },
        ),
        (stuck_async, {"headstrong": "SIGTERM"}),
    ],
    ids=["sync", "async"],
)
def test_what_cannot_be_interrupted_costs_the_process_and_no_restart_budget(
    start: Start, gate: GateMaker, agent: Any, ways: dict[str, str]
) -> None:
    """N8, N1: the ladder goes as far as it has to; the caller does not wait for that."""
    begun = gate()
    handle = start(agent(begun.tell), shutdown=STEEP, max_restarts=0)
    for count, (way, signal_name) in enumerate(ways.items(), 1):
        old = handle.pid
        cancelled(handle, way, begun)
        assert handle.deliver("state").result().output == (handle.pid, 1, []), way
        assert handle.pid != old
        info = handle.info()
        assert (info.generation, info.restarts) == (count + 1, 0)
        assert f"was killed by {signal_name}" in str(info.last_exit), way


def test_a_stopped_worker_is_continued_to_be_ended(start: Start, gate: GateMaker) -> None:
    """N8: SIGCONT goes with SIGTERM."""
    begun = gate()
    handle = start(stuck(begun.tell), shutdown=STEEP, max_restarts=0)
    assert handle.pid is not None
    reply = handle.deliver("sleep")
    begun.line()
    os.kill(handle.pid, signal.SIGSTOP)
    reply.cancel()
    assert handle.deliver("state").result().output == (handle.pid, 1, [])
    assert "SIGTERM" in str(handle.info().last_exit)


# ---- what must not be hit


def test_an_import_is_never_interrupted(
    start: Start, gate: GateMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N8: a half-made module would be the next request's problem.

    The module goes on when signals have come that would have interrupted anything else.
    """
    begun = gate()
    tell = begun.tell
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "takes_long_to_import.py").write_text(
        "import builtins, signal\n"
        "from procorch.worker.interrupts import CANCEL\n"
        "seen = []\n"
        "usual = signal.getsignal(CANCEL)\n"
        "def count(signum, frame):\n"
        "    seen.append(signum)\n"
        "    usual(signum, frame)\n"
        "signal.signal(CANCEL, count)\n"
        "builtins.tell()\n"
        "while len(seen) < 5:\n"
        "    signal.pause()\n"
        "signal.signal(CANCEL, usual)\n"
        "complete = True\n"
    )

    def factory():
        import builtins
        import os
        import sys

        builtins.tell = tell

        def handle(x):
            if x == "import":
                import takes_long_to_import  # noqa: F401

                while True:
                    pass
            module = sys.modules.get("takes_long_to_import")
            return os.getpid(), getattr(module, "complete", "not imported whole")

        return handle

    handle = start(factory, shutdown=Shutdown(cooperate=0, interrupt=30))
    pid = handle.pid
    cancelled(handle, "import", begun)
    assert handle.deliver("state").result().output == (pid, True)


def usual_time(handle: OrchestratedHandle) -> float:
    """Seconds from a request to its answer, the median of some."""
    times = []
    for _ in range(9):
        begun = time.perf_counter()
        handle.deliver((0, 0)).result()
        times.append(time.perf_counter() - begun)
    return sorted(times)[len(times) // 2]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_requests_cancelled_around_their_end_have_one_outcome_and_never_hit_the_next(
    start: Start, kind: str
) -> None:
    """N8, I1: the gate of the signal, hammered at."""

    def factory():
        import asyncio
        import time

        def work(seconds):
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                pass

        def sync_handle(x):
            work(x[1])
            return x[0]

        async def async_handle(x):
            await asyncio.sleep(0)
            work(x[1] / 2)
            await asyncio.sleep(x[1] / 2)
            return x[0]

        return async_handle if kind == "async" else sync_handle

    handle = start(factory, shutdown=Shutdown(cooperate=0, interrupt=30))
    pid = handle.pid
    chance = random.Random(kind)
    outcomes: Counter[int] = Counter()
    finished = 0
    way = usual_time(handle)  # on a cluster a request travels for longer than it lasts
    for number in range(300):
        lasts = chance.uniform(0, 0.002)
        reply = handle.deliver((number, lasts))
        reply.add_done_callback(lambda future, number=number: outcomes.update([number]))
        after = handle.deliver((-number, 0))
        threading.Event().wait(chance.uniform(0, 0.003 + 2 * way))
        if reply.cancel():
            assert reply.cancelled()
            assert isinstance(error_of(reply), RequestCancelled)
        else:
            finished += 1
            assert reply.result().output == number
        assert after.result().output == -number
    assert 0 < finished < 300
    last = handle.deliver(("last", 0)).result()
    assert (last.output, last.metrics and last.metrics.pid) == ("last", pid)
    assert (handle.generation, handle.info().restarts) == (1, 0)
    handle.stop()
    until = time.monotonic() + 90
    while len(outcomes) < 300 and time.monotonic() < until:
        pass  # callbacks run on a thread of their own
    assert outcomes == Counter(range(300))


def error_of(reply: ReplyFuture) -> BaseException | None:
    try:
        reply.result()
    except BaseException as error:
        return error
    return None


def test_a_reply_that_was_there_first_stands(start: Start, gate: GateMaker) -> None:
    """N14."""
    handle = start(stuck(gate().tell))
    reply = handle.deliver("state")
    output = reply.result().output
    assert not reply.cancel()
    assert reply.result().output == output
    assert not reply.cancelled()


def test_a_request_cancelled_in_the_queue_is_never_begun(start: Start, gate: GateMaker) -> None:
    """N8: nothing else in the queue notices."""
    begun = gate()
    handle = start(stuck(begun.tell), shutdown=QUICK)
    pid = handle.pid
    running, waiting, last = (handle.deliver(x) for x in ("sleep", "loop", "state"))
    begun.line()
    assert waiting.cancel()
    assert waiting.cancel()  # again: the same answer, no second cancel
    assert running.cancel()
    assert last.result().output == (pid, 2, [])
    assert begun.told() == []


# ---- ending the agent


@pytest.mark.parametrize(
    ("agent", "ways"),
    [SYNC, (stuck_async, ["awaiting", "gathering", "blocking", "swallowing"])],
    ids=["sync", "async"],
)
def test_busy_agents_are_cancelled_with_their_requests(
    orchestrator: Orchestrator,
    gate: GateMaker,
    watched: Callable[..., Any],
    agent: Any,
    ways: list[str],
) -> None:
    """N8, N14: the request gets `Aborted`, the agent ends CANCELLED, its process leaves."""
    begun = gate()
    orch = orchestrator()
    for way in ways:
        orch.add_agent(way, agent(begun.tell), shutdown=QUICK)
    handles = orch.spawn_all()
    processes = watched(*(handle.pid for handle in handles.values()))
    replies = [handle.deliver(way) for way, handle in handles.items()]
    for _ in replies:
        begun.line()
    for handle in handles.values():
        handle.cancel()
    assert all(isinstance(reply.exception(), Aborted) for reply in replies)
    for way, handle in handles.items():
        with pytest.raises(Aborted):
            handle.await_result()
        assert handle.status() is AgentStatus.CANCELLED
        last_exit = handle.info().last_exit
        assert last_exit is not None
        assert "exited with code 0" in last_exit, way  # no signal was needed
    assert processes.alive(within=0) == []


def test_agents_that_do_not_listen_are_cancelled_by_force(
    orchestrator: Orchestrator, gate: GateMaker, watched: Callable[..., Any]
) -> None:
    """N8: up to SIGKILL."""
    begun = gate()
    orch = orchestrator()
    for way in ("headstrong", "native_with_the_lock", "deaf"):
        orch.add_agent(way, stuck(begun.tell), shutdown=STEEP)
    handles = orch.spawn_all()
    processes = watched(*(handle.pid for handle in handles.values()))
    replies = [handle.deliver(way) for way, handle in handles.items()]
    for _ in replies:
        begun.line()
    for handle in handles.values():
        handle.cancel()
        handle.cancel()
    assert all(isinstance(reply.exception(), Aborted) for reply in replies)
    for handle in handles.values():
        handle.wait()
        assert handle.status() is AgentStatus.CANCELLED
    assert processes.alive(within=0) == []


def test_a_stopped_idle_agent_is_cancelled(start: Start, gate: GateMaker) -> None:
    """N8: an idle one gets SIGTERM at once, and a stopped one SIGCONT with it."""
    handle = start(stuck(gate().tell))
    assert handle.pid is not None
    os.kill(handle.pid, signal.SIGSTOP)
    handle.cancel()
    handle.wait()
    assert handle.status() is AgentStatus.CANCELLED


def test_stop_interrupts_what_is_not_done_when_its_grace_is_over(
    start: Start, gate: GateMaker
) -> None:
    """N8, N15: what was accepted and not finished gets `Aborted`."""
    begun = gate()
    handle = start(stuck(begun.tell), shutdown=QUICK)
    reply, queued = handle.deliver("loop"), handle.deliver("state")
    begun.line()
    handle.stop(grace="100ms")
    assert isinstance(reply.exception(), Aborted)
    assert queued.exception() is not None
    assert handle.status() is AgentStatus.STOPPED
    assert "exited with code 0" in str(handle.info().last_exit)
