"""Functions of a script: their globals, their closures and their decorators, in a worker."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import sys
import threading
import xml.etree.ElementTree
from collections.abc import Callable, Iterator
from typing import Any

from procorch.wire.codec import decode, encode
from tests.wire.peer import Worker

CONFIG = {"key": 1}
LOCK = threading.Lock()
counter = 0


def loud(text: str) -> str:
    return text.upper()


def even(number: int) -> bool:
    return number == 0 or odd(number - 1)


def odd(number: int) -> bool:
    return number != 0 and even(number - 1)


@functools.cache
def fibonacci(number: int) -> int:
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)


@contextlib.contextmanager
def context() -> Iterator[str]:
    yield loud("context")


def twice(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*arguments: Any) -> Any:
        return [function(*arguments)] * 2

    return inner


@twice
def decorated(text: str) -> str:
    return loud(text)


short = lambda text, function=loud: function(text)  # noqa: E731


def count() -> int:
    global counter
    counter += 1
    return counter


def read_counter() -> int:
    return counter


def with_lock() -> str:
    with LOCK:
        return "locked"


def with_submodules() -> Any:
    element = xml.etree.ElementTree.Element("a")
    pool = concurrent.futures.ThreadPoolExecutor
    return xml.etree.ElementTree.tostring(element), pool.__name__


def with_a_class_body() -> Any:
    class Inside:
        value = CONFIG

    return Inside.value


def with_own_module() -> Any:
    return sys.modules[__name__].loud is loud, sys.stdout is not None


async def with_await() -> str:
    return loud("awaited")


def agent(message: Any) -> Any:
    if isinstance(message, tuple):
        function, *arguments = message
        return function(*arguments)
    return message() if callable(message) else message


def back() -> Any:
    greeting = "back"
    return lambda: loud(greeting)


def run(coroutine_function: Any) -> Any:
    import asyncio

    return asyncio.run(coroutine_function())


class Factory:
    """An object that can be called is a factory too."""

    def __init__(self, agent: Any) -> None:
        self.agent = agent

    def __call__(self) -> Any:
        return self.agent


def main() -> None:
    here = CONFIG
    calls: list[int] = []

    def local(number: int) -> int:
        calls.append(number)
        return 1 if number == 0 else number * local(number - 1)

    def shares_a_cell() -> tuple[Callable[[], None], Callable[[], int]]:
        total = 0

        def add() -> None:
            nonlocal total
            total += 1

        return add, lambda: total

    def chain(number: int) -> Callable[[], int]:
        following = chain(number - 1) if number else None
        return lambda: 1 + following() if following else 0

    factories = [lambda: agent, Factory(agent), functools.partial(Factory(agent)), lambda: local]
    for factory in factories[:3]:
        with Worker(factory) as worker:
            assert worker.ask((loud, "x")) == "X"
    with Worker(factories[3]) as worker:
        assert worker.ask(5) == 120
        assert calls == []

    with Worker(lambda: agent) as worker:
        ask = worker.ask
        assert not worker.needed_dill
        assert ask((even, 10)) is True
        assert ask((fibonacci, 30)) == 832040
        assert ask((fibonacci, 30)) == 832040
        assert ask(lambda: fibonacci.cache_info().currsize) == 31
        assert ask((decorated, "x")) == ["X", "X"]
        assert ask((short, "x")) == "X"
        assert ask(lambda: context().__enter__()) == "CONTEXT"
        assert ask((run, with_await)) == "AWAITED"
        assert ask(with_lock) == "locked"
        assert ask(lambda: with_lock() + LOCK.__class__.__name__) == "lockedlock"
        assert ask(with_submodules) == (b"<a />", "ThreadPoolExecutor")
        assert ask(with_a_class_body) == here
        assert ask(with_own_module) == (True, True)
        assert ask(functools.partial(loud, "x")) == "X"

        # Two functions see one global, which lives in the worker, and only there.
        assert [ask(count), ask(count), ask(read_counter), counter] == [1, 2, 2, 0]

        # What a closure holds comes anew with every message.
        assert ask((local, 5)) == 120
        assert ask(lambda: (local(2), len(calls))) == (2, 3)
        assert calls == []
        add, total = shares_a_cell()
        assert ask(lambda: (add(), add(), total())) == (None, None, 2)
        assert total() == 0
        assert ask(chain(20)) == 20

        for function in (loud, decorated, fibonacci, even):
            assert ask((list, [function]))[0] is function
        assert ask(back)() == "BACK"
        assert ask(back).__globals__ is loud.__globals__

    here_again = decode(b"".join(encode([lambda: loud("x"), loud], what="request")))
    assert here_again[0]() == "X"
    assert here_again[0].__globals__ is here_again[1].__globals__
    assert here_again[1] is loud


if __name__ == "__main__":
    main()
