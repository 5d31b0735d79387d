"""Inputs that take their time or wait for results: what is there is given (`pool.reading`)."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from procorch import AgentExecutor, AgentPool, run_batch
from procorch.pool.input_reader import iterate, read

PATIENCE = 90.0


@pytest.fixture(scope="module")
def pool() -> Iterator[AgentPool]:
    with AgentPool(lambda: abs, workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def executor() -> Iterator[AgentExecutor]:
    with AgentExecutor(2) as made:
        yield made


class Chat:
    """An input whose next item comes when the result of the one before was given."""

    def __init__(self) -> None:
        self._items: queue.Queue[int | None] = queue.Queue()
        self._items.put(1)

    def __iter__(self) -> Iterator[int]:
        while (item := self._items.get(timeout=PATIENCE)) is not None:
            yield item

    def heard(self, result: int) -> None:
        self._items.put(result + 1 if result < 5 else None)


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_an_input_that_waits_for_results_gets_them(pool: AgentPool, way: str) -> None:
    chat, got = Chat(), []
    for result in getattr(pool, way)(chat):
        got.append(result)
        chat.heard(result)
    assert got == [1, 2, 3, 4, 5]


def test_an_input_that_waits_for_results_gets_them_on_an_event_loop(pool: AgentPool) -> None:
    async def talk() -> list[int]:
        chat, got = Chat(), []
        async for result in pool.imap(chat):
            got.append(result)
            chat.heard(result)
        return got

    assert asyncio.run(talk()) == [1, 2, 3, 4, 5]


def failing() -> Iterator[int]:
    yield -1
    yield -2
    raise LookupError("the input")


async def failing_later() -> AsyncIterator[int]:
    for item in (-1, -2):
        yield item
    raise LookupError("the input")


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_what_an_input_raises_comes_after_the_results_of_what_it_gave(
    pool: AgentPool, way: str
) -> None:
    got: list[int] = []
    with pytest.raises(LookupError, match="the input"):
        got.extend(getattr(pool, way)(failing()))
    assert sorted(got) == [1, 2]


def test_what_an_asynchronous_input_raises_comes_after_them_too(pool: AgentPool) -> None:
    got = []

    async def take() -> None:
        async for result in pool.imap(failing_later()):
            got.append(result)

    with pytest.raises(LookupError, match="the input"):
        asyncio.run(take())
    assert got == [1, 2]


@pytest.mark.parametrize("how", ["close", "lose"])
def test_an_iteration_that_is_left_lets_its_input_go(pool: AgentPool, how: str) -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    results = pool.imap(endless())
    assert next(results) == 1
    if how == "close":
        results.close()
    del results
    gc.collect()
    assert closed.wait(PATIENCE)


def test_one_iteration_is_the_input_of_another(
    pool: AgentPool, executor: AgentExecutor, tmp_path: Any
) -> None:
    def first() -> Any:
        return pool.imap(range(-4, 0))

    expected = [4, 3, 2, 1]
    assert pool.map(first()) == expected
    assert list(pool.imap(first())) == expected
    assert sorted(pool.imap_unordered(pool.imap_unordered(range(-4, 0)))) == sorted(expected)
    assert list(executor.map(abs, first())) == expected
    assert list(executor.map(abs, first(), buffersize=2)) == expected
    assert asyncio.run(pool.amap(first())) == expected
    batch = run_batch(lambda: abs, first(), out=tmp_path / "run.db")
    assert sorted(item.output for item in batch) == sorted(expected)


def test_an_asynchronous_input_alone_still_needs_async_for(pool: AgentPool) -> None:
    with pytest.raises(TypeError, match="async for"):
        next(pool.imap(failing_later()))


@pytest.mark.parametrize(
    "items", [[3, 1, 2], range(7, 1, -2), range(0), [None]], ids=["list", "range", "empty", "one"]
)
def test_an_input_that_is_cut_gives_what_its_iterator_gives(items: Any) -> None:
    cut = iterate(items)
    assert list(read(cut, 2).items) == list(items[:2])
    rest = read(cut, 100)
    assert list(rest.items) == list(items[2:])
    assert rest.ended
    assert list(iterate(items)) == list(items)


def test_a_subclass_of_list_is_iterated_as_it_wants() -> None:
    class Backwards(list[int]):
        def __iter__(self) -> Iterator[int]:
            return reversed(self)

    assert list(read(iterate(Backwards([1, 2])), 5).items) == [2, 1]
