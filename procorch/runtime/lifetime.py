"""Closes what is still open when the interpreter exits, so that no worker outlives it.

The hook runs after the program's own threads have ended. If the process is killed, the kernel ends
its workers (``worker.limits.die_with``). The child of a fork has no threads of procorch and must
not use the parent's workers: it gives them up.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable
from typing import Protocol

from procorch.wire.byvalue import changes

EXIT_TIMEOUT = 5.0
"""Seconds that open agents get at the exit of the interpreter before they are killed."""


class Closable(Protocol):
    """An object that can be closed quickly."""

    def begin_close(self, *, drain: bool, timeout: float) -> None:
        """Begin to end everything within about ``timeout`` seconds; returns at once."""
        ...

    def close(self, *, drain: bool, timeout: float) -> None:
        """Do so, and wait for the end."""
        ...

    def disown(self) -> None:
        """In the child of a fork: give up what belongs to the parent process."""
        ...


def keep_definitions(user: object) -> None:
    """Keep the record of sent definitions until ``user`` calls `forget_definitions`."""
    changes.use(user)


def forget_definitions(user: object) -> None:
    """``user`` sends nothing more; after the last user the record is dropped."""
    changes.leave(user)


_open: weakref.WeakSet[Closable] = weakref.WeakSet()
_hooked = False


async def close_from_task(close: Callable[..., None], *, drain: bool, timeout: float) -> None:
    """Call ``close`` without blocking the event loop.

    If the task is cancelled while it waits, for instance by Ctrl-C, it aborts the remaining work
    and waits for that. Otherwise the thread would go on, and `asyncio.run` would wait for it.
    """
    import asyncio

    closing = asyncio.ensure_future(asyncio.to_thread(close, drain=drain, timeout=timeout))
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await asyncio.gather(
            closing,
            asyncio.to_thread(close, drain=False, timeout=timeout),
            return_exceptions=True,
        )
        raise


def close_at_exit(thing: Closable) -> None:
    """Have ``thing`` closed when this interpreter exits."""
    global _hooked
    if not _hooked:
        _hooked = True
        atexit.register(_close_all)
        os.register_at_fork(after_in_child=_disown_all)
    _open.add(thing)


def close_all(*, drain: bool, timeout: float) -> bool:
    """Close all that is open, at the same time, and wait for the end.

    Returns:
        Whether anything was open.
    """
    left = list(_open)
    for thing in left:
        thing.begin_close(drain=drain, timeout=timeout)
    for thing in left:
        thing.close(drain=drain, timeout=timeout)
    return bool(left)


def _close_all() -> None:
    close_all(drain=False, timeout=EXIT_TIMEOUT)


def _disown_all() -> None:
    for thing in list(_open):
        thing.disown()
    _open.clear()
