"""What the workers of an executor do: call functions. Both ends of the payload are here."""

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


class Begin(NamedTuple):
    """What stands before a chunk: the function that its items are arguments of, sealed.

    It is sealed once for all chunks of a ``map``, and loaded once for each.
    """

    function: bytes


def sealed_function(function: Callable[..., Any]) -> bytes:
    """A function as what stands before chunks.

    Raises:
        SerializationError: with the path to what cannot be serialised.
    """
    begin = Begin(b"".join(codec.encode(function, what="function")))
    return item_list.seal(begin, what="function")


class Exit(Exception):
    """A function raised ``SystemExit``, which is an exception like others here: the standard
    library's workers hand it to the caller, too."""

    def __init__(self, code: Any) -> None:
        super().__init__(code)
        self.code = code


def caller(
    initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> Callable[[], Any]:
    """The factory of an executor's agents."""

    def factory() -> Callable[[Any], Any]:
        if initializer is not None:
            initializer(*initargs)
        return Caller()

    return factory


class Caller:
    """The agent."""

    def __init__(self) -> None:
        self._process = os.getpid()

    def __call__(self, payload: Any) -> Any:
        if type(payload) is Begin:
            return codec.decode(payload.function, what="function"), self._exit
        try:
            function, args, kwargs = payload
            return function(*args, **kwargs)
        except SystemExit as error:
            raise self._exit(error) from None

    def _exit(self, error: SystemExit) -> BaseException:
        if os.getpid() != self._process:
            return error  # a process that the function has forked ends as it says
        return Exit(error.code)
