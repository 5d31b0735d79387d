"""Answers that are read while they come."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentFailure,
    AgentOptions,
    DefaultSupervisor,
    OrchestratedHandle,
    RequestCancelled,
    RequestTimeout,
    current,
)
from procorch.futures.stream import StreamReply
from tests.process.conftest import PATIENCE, Gate

Start = Callable[..., OrchestratedHandle]


def counting(upto: int) -> Callable[[], AgentOptions]:
    """A model whose turn is numbers, a piece each."""

    def factory() -> AgentOptions:
        def turn(context: Any) -> Any:
            for number in range(upto):
                yield f"{number} "

        return AgentOptions(stream_fn=turn)

    return factory


def test_the_pieces_come_in_order_and_make_up_the_answer(start: Start) -> None:
    agent = start(counting(100))
    with agent.stream("count") as answer:
        pieces = list(answer)
    assert pieces == [f"{number} " for number in range(100)]
    assert answer.result().text == "".join(pieces)
    assert agent.send_message("count").text == "".join(pieces)  # the same without a reader


def test_an_asyncio_task_reads_as_well(start: Start) -> None:
    agent = start(counting(50))

    async def main() -> tuple[int, str]:
        async with agent.stream("count") as answer:
            seen = [piece async for piece in answer]
            return len(seen), (await answer).text

    seen, text = asyncio.run(main())
    assert (seen, text.split()[-1]) == (50, "49")


def test_the_first_piece_is_there_before_the_answer_is_done(
    start: Start, gate: Callable[[], Gate]
) -> None:
    door = gate()
    wait = door.wait

    def factory() -> Any:
        def handle(messages: Any) -> str:
            current().emit("first")
            wait()
            current().emit("second")
            return "whole"

        return handle

    answer = start(factory).stream("go")
    assert next(answer) == "first"
    assert not answer.done()
    door.open()
    assert list(answer) == ["second"]
    assert answer.result().output == "whole"


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_a_slow_reader_slows_the_agent_down(
    start: Start, gate: Callable[[], Gate], kind: str
) -> None:
    door = gate()
    tell = door.tell

    def factory() -> Any:
        def write(messages: Any) -> int:
            for number in range(40):
                tell(number)
                current().emit(str(number))
            return 40

        async def write_async(messages: Any) -> int:
            for number in range(40):
                tell(number)
                await current().emit_async(str(number))
            return 40

        return write if kind == "function" else write_async

    answer = start(factory).stream("go")
    lines = [door.line() for _ in range(16)]
    for number in range(16):
        assert door.told() == []  # it waits until all that it has said was read
        assert next(answer) == str(number)
    lines += [door.line() for _ in range(16)]
    assert answer.result(PATIENCE).output == 40  # who wants the whole answer reads no pieces
    lines += [door.line() for _ in range(8)]
    assert lines == [str(number) for number in range(40)]
    assert [*answer] == [str(number) for number in range(16, 40)]


def test_a_piece_is_confirmed_once_and_not_before_it_is_read_or_nobody_will() -> None:
    confirmed: list[int] = []
    worker: Any = object()

    def make() -> StreamReply:
        confirmed.clear()
        reply = StreamReply(
            1, "a", drop=lambda request: None, run_callback=lambda call, *_: None,
            confirm=lambda process, number: confirmed.append(number),
        )  # fmt: skip
        for piece, number in ((b"x", 0), (b"y", 7)):
            reply.arrive(worker, piece, number)
        assert confirmed == []
        return reply

    read = make()
    assert (next(read), confirmed) == ("x", [])
    assert (next(read), confirmed) == ("y", [7])
    read.cancel()
    assert confirmed == [7]

    left = make()
    left.cancel()
    assert confirmed == [7]
    left.arrive(worker, b"late", 8)
    assert confirmed == [7, 8]


@pytest.mark.parametrize("when", ["meanwhile", "afterwards"])
def test_a_death_in_mid_stream_is_named_after_the_pieces_that_arrived(
    start: Start, when: str
) -> None:
    def factory() -> Any:
        def handle(messages: Any) -> str:
            if messages[-1].text == "again":
                return f"generation {current().generation}"
            for number in range(5):
                current().emit(str(number))
            os.kill(os.getpid(), signal.SIGKILL)
            return "never"

        return handle

    agent = start(factory, supervisor=DefaultSupervisor(), retries=3)
    answer, seen = agent.stream("go"), list[str]()
    if when == "afterwards":
        assert isinstance(answer.exception(PATIENCE), AgentCrashed)
    with pytest.raises(AgentCrashed, match="SIGKILL"):
        seen.extend(answer)
    assert seen == ["0", "1", "2", "3", "4"]
    assert agent.send_message("again").text == "generation 2"


def test_an_error_in_mid_stream_comes_after_the_pieces_too(start: Start) -> None:
    def factory() -> Any:
        def handle(messages: Any) -> str:
            current().emit("one")
            raise ValueError("boom")

        return handle

    answer = start(factory).stream("go")
    assert next(answer) == "one"
    with pytest.raises(AgentFailure, match="boom"):
        next(answer)


@pytest.mark.parametrize("kind", ["function", "coroutine"])
@pytest.mark.parametrize("read", [1, 16])
def test_leaving_in_mid_stream_cancels_the_request_and_the_agent_goes_on(
    start: Start, kind: str, read: int
) -> None:
    def factory() -> Any:
        def write(messages: Any) -> Any:
            while messages[-1].text == "go":
                current().emit("x")
            return current().generation

        async def write_async(messages: Any) -> Any:
            while messages[-1].text == "go":
                await current().emit_async("x")
            return current().generation

        return write if kind == "function" else write_async

    agent = start(factory, supervisor=DefaultSupervisor())
    for _ in range(2):
        with agent.stream("go") as answer:
            for _ in range(read):
                assert next(answer) == "x"
        with pytest.raises(RequestCancelled):
            answer.result(PATIENCE)
    assert agent.send_message("well?", timeout=PATIENCE).output == 1  # nobody had to be killed


def test_a_stream_that_nobody_reads_ends_at_its_deadline(start: Start) -> None:
    agent = start(counting(1000))
    answer = agent.stream("count", timeout=0.3)
    first = next(answer)
    assert agent.send_message("count").text  # comes after it, so it has ended
    seen = [first]
    with pytest.raises(RequestTimeout):
        seen.extend(answer)
    assert seen == [f"{number} " for number in range(16)]  # what had arrived is not lost


def test_nothing_is_sent_where_nobody_reads(start: Start) -> None:
    def factory() -> Any:
        def handle(messages: Any) -> bool:
            for _ in range(100):
                current().emit("x")
            return current().streaming

        return handle

    agent = start(factory)
    assert agent.send_message("go").output is False
    assert agent.stream("go").result(PATIENCE).output is True


@pytest.mark.parametrize("piece", [b"x", 3])
def test_a_piece_is_text(start: Start, piece: Any) -> None:
    agent = start(lambda: lambda messages: current().emit(piece))
    with pytest.raises(AgentFailure, match=r"emit\(\) takes text"):
        agent.send_message("go")
