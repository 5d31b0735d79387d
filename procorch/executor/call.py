"""The agent of an executor, which calls functions, and the payloads that it understands."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from procorch.wire import codec, item_list


class Call(NamedTuple):
    """One call."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class ChunkFunction(NamedTuple):
    """The serialised function of a chunk; the items of the chunk are its arguments.

    It is serialised once for all chunks of a ``map``, and loaded once for each chunk.
    """

    function: bytes


def packed_function(function: Callable[..., Any]) -> bytes:
    """A function, serialised as the prelude of chunks.

    Raises:
        SerializationError: with the path to what cannot be serialised.
    """
    prelude = ChunkFunction(b"".join(codec.encode(function, what="function")))
    return item_list.seal(prelude, what="function")


class FunctionExit(Exception):
    """A function raised ``SystemExit``.

    The caller gets that exception like any other, as with the standard library's executors.
    """

    def __init__(self, code: Any) -> None:
        super().__init__(code)
        self.code = code


def caller(
    initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> Callable[[], Any]:
    """The factory of an executor's agents."""
    if initializer is None:
        return Caller  # by its name: a function in here would travel by value, which loads dill

    def factory() -> Callable[[Any], Any]:
        initializer(*initargs)
        return Caller()

    return factory


class Caller:
    """Calls the functions that an executor sends."""

    def __init__(self) -> None:
        self._process = os.getpid()

    def __call__(self, payload: Any) -> Any:
        if type(payload) is ChunkFunction:
            return codec.decode(payload.function, what="function"), self._exit
        try:
            function, args, kwargs = payload
            return function(*args, **kwargs)
        except SystemExit as error:
            raise self._exit(error) from None

    def _exit(self, error: SystemExit) -> BaseException:
        if os.getpid() != self._process:
            return error  # it ends the process that the function has forked
        return FunctionExit(error.code)
