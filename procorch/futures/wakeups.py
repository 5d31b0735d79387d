"""Waking an event loop from any thread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


def waker(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> Callable[[], None]:
    """What any thread may call to have ``call`` run by ``loop``; it neither blocks nor raises."""

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(call)

    return wake


def wakeup(loop: asyncio.AbstractEventLoop) -> tuple[asyncio.Future[None], Callable[[], None]]:
    """A future to be awaited, and what any thread may call, any number of times, to finish it."""
    future: asyncio.Future[None] = loop.create_future()

    def finish() -> None:
        if not future.done():
            future.set_result(None)

    return future, waker(loop, finish)
