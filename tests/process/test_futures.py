"""ReplyFuture: a future of the standard library and of asyncio, whoever waits for it and how."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from procorch import (
    AgentFailure,
    AgentOrchestrator,
    OrchestratedHandle,
    ReplyFuture,
    RequestCancelled,
    RequestTimeout,
    SerializationError,
    Shutdown,
)

QUICK = Shutdown(cooperate=0.05, interrupt=0.2, grace=0.2, terminate=0.2)

Start = Callable[..., OrchestratedHandle]
Make = Callable[..., AgentOrchestrator]
GateMaker = Callable[[], Any]
Factory = Callable[[], Any]


@pytest.fixture
def echo() -> Factory:
    """An agent that returns what it gets and raises what it is told to."""

    def factory():
        def handle(x):
            if x == "raise":
                raise ValueError("boom")
            return x

        return handle

    return factory


class Held:
    """An agent that stays in "hold" until it is released, and tells what it begins."""

    def __init__(self, begun: Any, go: Any) -> None:
        self._begun, self._go = begun, go
        tell, wait = begun.tell, go.wait

        def factory():
            def handle(x):
                tell(x)
                if x in ("hold", ["hold"]):
                    wait()
                return x

            return handle

        self.factory = factory

    def hold(self, handle: OrchestratedHandle) -> ReplyFuture:
        """Have the agent busy until `release`."""
        reply = handle.deliver("hold")
        assert self._begun.line() == "hold"
        return reply

    def release(self, times: int = 1) -> None:
        self._go.open(times)

    def told(self) -> list[str]:
        return self._begun.told()


@pytest.fixture
def held(gate: GateMaker) -> Iterator[Held]:
    agent = Held(gate(), gate())
    yield agent
    agent.release(10)


# Results


def test_a_future_has_the_result_of_its_request(start: Start, echo: Factory) -> None:
    handle = start(echo)
    reply = handle.deliver({"n": 1})
    assert reply.result().output == {"n": 1}
    assert reply.exception() is None
    assert reply.done()
    assert not reply.running()
    assert not reply.cancelled()
    assert reply.agent == "a"
    assert handle.deliver(2).request > reply.request
    assert isinstance(reply, concurrent.futures.Future)


def test_a_future_has_the_error_of_its_request(start: Start, echo: Factory) -> None:
    reply = start(echo).deliver("raise")
    error = reply.exception()
    assert isinstance(error, AgentFailure)
    with pytest.raises(AgentFailure) as caught:
        reply.result()
    assert caught.value is error


def test_waiting_for_a_result_may_end_before_the_request_does(start: Start, held: Held) -> None:
    reply = held.hold(start(held.factory))
    with pytest.raises(TimeoutError) as caught:
        reply.result(timeout=0.01)
    assert not isinstance(caught.value, RequestTimeout)
    with pytest.raises(TimeoutError):
        reply.exception(timeout=0)
    assert not reply.done()
    held.release()
    assert reply.result().output == "hold"


def test_a_reply_is_decoded_once_by_the_thread_that_asks(start: Start) -> None:
    def factory():
        import threading

        class WhoLoadsMe:
            def __reduce__(self):
                return threading.get_ident, ()

        return lambda x: [WhoLoadsMe()]

    reply = start(factory).deliver("go")
    concurrent.futures.wait([reply])
    with ThreadPoolExecutor(4) as pool:
        outputs = [each.result() for each in [pool.submit(reply.result) for _ in range(20)]]
        idents = {thread.ident for thread in pool._threads}
    assert len({id(result) for result in outputs}) == 1
    assert outputs[0].output[0] in idents
    assert reply.result() is outputs[0]


def test_a_reply_that_does_not_load_fails_its_own_caller_alone(start: Start) -> None:
    def factory():
        import os

        class LoadsNowhere:
            def __reduce__(self):
                return int, ("not a number",)

        return lambda x: LoadsNowhere() if x == "bad" else os.getpid()

    handle = start(factory)
    bad, good = handle.deliver("bad"), handle.deliver("good")
    with pytest.raises(SerializationError, match=r"'a'.*not a number"):
        bad.result()
    assert bad.exception() is bad.exception()
    assert good.result().output == handle.pid


# Cancelling


def test_a_cancelled_request_in_the_queue_is_never_executed(start: Start, held: Held) -> None:
    handle = start(held.factory)
    holding = held.hold(handle)
    queued, behind = handle.deliver("cancelled"), handle.deliver("behind")

    assert queued.cancel()
    assert queued.cancelled()
    assert queued.cancel()
    with pytest.raises(RequestCancelled, match=f"request {queued.request} was cancelled"):
        queued.result()
    with pytest.raises(concurrent.futures.CancelledError):
        queued.exception()

    held.release()
    assert holding.result().output == "hold"
    assert behind.result().output == "behind"
    assert held.told() == ["behind"]


def test_a_cancelled_request_frees_its_place_in_the_channel(start: Start, held: Held) -> None:
    handle = start(held.factory, channel_buffer=1)
    held.hold(handle)
    queued = handle.deliver("a")
    with ThreadPoolExecutor(1) as sender:
        waiting = sender.submit(handle.deliver, "b")
        queued.cancel()
        reply = waiting.result()
    held.release()
    assert reply.result().output == "b"
    assert held.told() == ["b"]


def test_a_running_request_is_cancelled_and_the_agent_goes_on(start: Start, held: Held) -> None:
    handle = start(held.factory, shutdown=QUICK)
    running = held.hold(handle)
    behind = handle.deliver("behind")
    assert running.cancel()
    with pytest.raises(RequestCancelled):
        running.result(timeout=0)
    assert behind.result().output == "behind"


def test_what_is_done_cannot_be_cancelled(start: Start, echo: Factory) -> None:
    reply = start(echo).deliver(1)
    concurrent.futures.wait([reply])
    assert not reply.cancel()
    assert not reply.cancelled()
    assert reply.result().output == 1


def test_cancel_may_be_called_by_many_threads_at_once(start: Start, held: Held) -> None:
    handle = start(held.factory)
    held.hold(handle)
    replies = [handle.deliver(n) for n in range(20)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: replies[n % 20].cancel(), range(400)))
    assert all(answers)
    held.release()
    assert handle.deliver("last").result().output == "last"
    assert held.told() == ["last"]


# Callbacks


def test_callbacks_run_away_from_the_monitor_in_order(start: Start, held: Held) -> None:
    reply = held.hold(start(held.factory))
    seen: list[Any] = []
    done = threading.Event()
    for n in range(3):
        reply.add_done_callback(
            lambda reply, n=n: seen.append((n, reply, threading.current_thread()))
        )
    reply.add_done_callback(lambda reply: done.set())
    held.release()
    assert done.wait(10)
    assert [(n, each) for n, each, _ in seen] == [(n, reply) for n in range(3)]
    assert {thread.name for _, _, thread in seen} == {"procorch-callbacks"}


def test_a_callback_of_a_finished_request_runs_at_once(start: Start, echo: Factory) -> None:
    reply = start(echo).deliver(1)
    reply.result()
    seen: list[Any] = []
    reply.add_done_callback(lambda reply: seen.append(threading.current_thread()))
    assert seen == [threading.current_thread()]


def test_a_callback_that_raises_harms_nobody(
    start: Start, held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    handle = start(held.factory)
    reply = held.hold(handle)
    called = threading.Event()

    def broken(reply: object) -> None:
        raise SystemExit("from a callback")

    def also_broken(reply: object) -> None:
        raise ValueError("from a callback")

    reply.add_done_callback(also_broken)
    reply.add_done_callback(broken)
    other = handle.deliver("other")
    other.add_done_callback(lambda reply: called.set())
    held.release()
    assert reply.result().output == "hold"
    assert called.wait(10)
    assert handle.deliver("next").result().output == "next"
    assert "from a callback" in caplog.text


@pytest.fixture
def blocked(orchestrator: Make, held: Held) -> Iterator[tuple[AgentOrchestrator, Any]]:
    """An agent whose callback thread is stuck in a callback of the user's."""
    orch = orchestrator()
    orch.add_agent("a", held.factory)
    handle = orch.spawn("a")
    entered, leave = threading.Event(), threading.Event()

    def block(reply: object) -> None:
        entered.set()
        leave.wait()

    held.hold(handle).add_done_callback(block)
    held.release()
    assert entered.wait(10)
    yield orch, handle
    leave.set()


def test_a_callback_that_blocks_holds_up_nobody_else(
    blocked: tuple[AgentOrchestrator, OrchestratedHandle],
) -> None:
    _, handle = blocked
    assert handle.deliver(2).result().output == 2
    replies = [handle.deliver(n) for n in range(5)]
    assert set(concurrent.futures.as_completed(replies, timeout=10)) == set(replies)

    async def ask() -> Any:
        return (await handle.deliver(3)).output

    assert asyncio.run(asyncio.wait_for(ask(), 10)) == 3


def test_a_callback_that_blocks_holds_up_close_for_a_second_at_most(
    blocked: tuple[AgentOrchestrator, OrchestratedHandle],
) -> None:
    orch, _ = blocked
    before = time.monotonic()
    orch.close()
    assert time.monotonic() - before < 3


# The standard library's helpers


def test_wait_and_as_completed_take_these_futures(start: Start, held: Held) -> None:
    busy, idle = start(held.factory), start(held.factory)
    slow, fast = held.hold(busy), idle.deliver("fast")
    done, pending = concurrent.futures.wait(
        [slow, fast], return_when=concurrent.futures.FIRST_COMPLETED
    )
    assert (done, pending) == ({fast}, {slow})

    order = concurrent.futures.as_completed([slow, fast], timeout=10)
    assert next(order) is fast
    held.release()
    assert next(order) is slow
    assert concurrent.futures.wait([slow, fast]).not_done == set()


# asyncio


def test_await_gives_the_result_or_raises_the_error(start: Start, echo: Factory) -> None:
    handle = start(echo)

    async def main() -> None:
        assert (await handle.submit(["hi"])).output == ["hi"]
        with pytest.raises(AgentFailure, match="boom"):
            await handle.deliver("raise")
        done = handle.deliver(1)
        assert (await done) is (await done)
        results = await asyncio.gather(*[handle.deliver(n) for n in range(50)])
        assert [result.output for result in results] == list(range(50))

    asyncio.run(main())


def test_a_cancelled_task_cancels_its_request(start: Start, held: Held) -> None:
    handle = start(held.factory)
    held.hold(handle)

    async def main() -> ReplyFuture:
        reply = handle.deliver("cancelled")

        async def wait() -> None:
            await reply

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        waited = handle.deliver("timed out")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waited, timeout=0.01)
        assert waited.cancelled()
        return reply

    assert asyncio.run(main()).cancelled()
    held.release()
    assert handle.deliver("last").result().output == "last"
    assert held.told() == ["last"]


def test_awaiting_a_request_that_somebody_else_cancels_raises_its_error(
    start: Start, held: Held
) -> None:
    handle = start(held.factory)
    held.hold(handle)

    async def main() -> None:
        reply = handle.deliver("cancelled")
        asyncio.get_running_loop().call_soon(reply.cancel)
        with pytest.raises(RequestCancelled):
            await reply

    asyncio.run(main())


def test_a_loop_that_was_closed_meanwhile_does_not_matter(start: Start, held: Held) -> None:
    handle = start(held.factory)
    loop = asyncio.new_event_loop()

    async def wait() -> None:
        await reply

    reply = held.hold(handle)
    task = loop.create_task(wait())
    loop.run_until_complete(asyncio.sleep(0))
    assert not task.done()
    loop.close()
    held.release()
    assert reply.result().output == "hold"
    assert handle.deliver("next").result().output == "next"


def test_senders_on_an_event_loop_do_not_block_it_at_a_full_channel(
    start: Start, held: Held
) -> None:
    handle = start(held.factory, channel_buffer=1)
    held.hold(handle)

    async def main() -> list[Any]:
        replies = [handle.deliver(n) for n in range(20)]  # would block a thread at the second
        held.release()
        return [(await reply).output for reply in replies]

    assert asyncio.run(main()) == list(range(20))


# Many senders


@pytest.mark.parametrize("channel_buffer", [1, 32])
def test_many_threads_and_tasks_at_once_keep_their_order_and_their_bytes(
    start: Start, channel_buffer: int
) -> None:
    def factory():
        import itertools
        import zlib

        turn = itertools.count()
        return lambda x: (next(turn), x[0], x[1], zlib.crc32(x[2]))

    import zlib

    handle = start(factory, channel_buffer=channel_buffer)
    # Sizes on both sides of every buffer on the way: sockets, read buffers, gathered writes.
    payloads = [bytes([n]) * size for n, size in enumerate((0, 10, 5_000, 70_000, 300_000))]
    each = 30

    def send(sender: int) -> list[ReplyFuture]:
        return [handle.deliver((sender, n, payloads[n % 5])) for n in range(each)]

    async def send_async(sender: int) -> list[ReplyFuture]:
        replies = []
        for n in range(each):
            replies.append(handle.deliver((sender, n, payloads[n % 5])))
            await asyncio.sleep(0)
        return replies

    async def tasks() -> list[list[ReplyFuture]]:
        return await asyncio.gather(*[send_async(sender) for sender in range(6, 9)])

    with ThreadPoolExecutor(7) as pool:
        looping = pool.submit(asyncio.run, tasks())
        sent = [pool.submit(send, sender) for sender in range(6)]
        by_sender = [future.result() for future in sent] + looping.result()

    turns = set()
    for sender, replies in enumerate(by_sender):
        outputs = [reply.result().output for reply in replies]
        assert [output[1:] for output in outputs] == [
            (sender, n, zlib.crc32(payloads[n % 5])) for n in range(each)
        ]
        order = [output[0] for output in outputs]
        assert order == sorted(order)
        turns.update(order)
    assert turns == set(range(9 * each))


# Timeouts


def test_a_request_whose_time_runs_out_in_the_queue_is_not_executed(
    start: Start, held: Held
) -> None:
    handle = start(held.factory)
    held.hold(handle)
    late = handle.submit(["late"], timeout="50ms")
    with pytest.raises(RequestTimeout) as caught:
        late.result()
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.timeout == 0.05
    assert not caught.value.ran
    assert f"request {late.request} not answered within 0.05 s, and was not executed" in str(
        caught.value
    )
    held.release()
    assert handle.deliver("next").result().output == "next"
    assert held.told() == ["next"]


@pytest.mark.parametrize("how", ["argument", "setting"])
def test_a_request_whose_time_runs_out_under_way_has_run(
    start: Start, held: Held, how: str
) -> None:
    settings = {"request_timeout": 0.1} if how == "setting" else {}
    handle = start(held.factory, shutdown=QUICK, **settings)
    reply = handle.submit(["hold"], timeout=0.1 if how == "argument" else None)
    error = reply.exception()
    assert isinstance(error, RequestTimeout)
    assert error.ran
    assert str(error) == f"agent 'a': request {reply.request} not answered within 0.1 s"


def test_the_time_of_delivered_work_counts_from_its_dispatch(start: Start, held: Held) -> None:
    handle = start(held.factory)
    held.hold(handle)
    patient = [handle.deliver(n, timeout=0.1) for n in range(3)]
    impatient = handle.submit(["impatient"], timeout=0.1)
    assert isinstance(impatient.exception(), RequestTimeout)
    held.release()  # all are older than that now, and none has begun
    assert [reply.result().output for reply in patient] == [0, 1, 2]
