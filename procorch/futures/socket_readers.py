"""Threads that read the socket of a worker themselves, in place of the monitor (`direct`).

Such a thread may be interrupted by a signal handler or a finalizer that waits for the same worker.
The interrupted thread cannot read the socket meanwhile, so a thread that is about to wait first
gives the socket back to the monitor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

holders: dict[int, Callable[[], None]] = {}
"""By the identity of a thread, the function that gives its socket back to the monitor."""


def give_back() -> None:
    """Give the socket that this thread reads back to the monitor, if it reads one."""
    if holders:
        back = holders.pop(threading.get_ident(), None)
        if back is not None:
            back()
