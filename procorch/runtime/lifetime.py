"""No process outlives the interpreter because somebody forgot to close (fault matrix 16).

The hook runs when the interpreter exits, after the program's own threads have ended. Workers of a
process that is killed need no hook: the kernel ends them (``worker.limits.die_with``). The child of
a fork has no threads of ours and no right to the parent's workers: it lets go of them.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable
from typing import Protocol

from procorch.wire.byvalue import changes

EXIT_TIMEOUT = 5.0
"""Seconds that leftover agents get at interpreter exit before they are killed."""


class Closable(Protocol):
    """What can be closed in a hurry."""

    def begin_close(self, *, drain: bool, timeout: float) -> None:
        """Begin to end everything, to be done within about ``timeout`` seconds; returns at once."""
        ...

    def close(self, *, drain: bool, timeout: float) -> None:
        """The same, and wait until it is done."""
        ...

    def disown(self) -> None:
        """In the child of a fork: what it has belongs to the parent process."""
        ...


def keep_definitions(user: object) -> None:
    """Remember which definitions have been sent, until ``user`` calls `forget_definitions`."""
    changes.use(user)


def forget_definitions(user: object) -> None:
    """``user`` sends nothing any more; the last one takes along what was remembered."""
    changes.leave(user)


_open: weakref.WeakSet[Closable] = weakref.WeakSet()
_hooked = False


async def close_from_task(close: Callable[..., None], *, drain: bool, timeout: float) -> None:
    """Call ``close`` without blocking the event loop.

    A task that is cancelled while it waits, as by Ctrl-C, aborts what is left and waits for that.
    The thread that waits would go on otherwise, and `asyncio.run` waits for it.
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


def _close_all() -> None:
    left = list(_open)
    for thing in left:  # all of them first, so that the time they take does not add up
        thing.begin_close(drain=False, timeout=EXIT_TIMEOUT)
    for thing in left:
        thing.close(drain=False, timeout=EXIT_TIMEOUT)


def _disown_all() -> None:
    for thing in list(_open):
        thing.disown()
    _open.clear()
