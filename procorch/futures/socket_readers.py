"""Which thread reads which worker's socket itself, in place of the monitor (`direct`).

Such a thread may be interrupted by a signal handler or a finalizer that waits for something of the
same worker. Nobody would read its socket then, so whoever is about to wait gives it back first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

holders: dict[int, Callable[[], None]] = {}
"""By the identity of a thread, what gives its socket back."""


def give_back() -> None:
    """Give back what this thread reads, if there is anything."""
    if holders:
        back = holders.pop(threading.get_ident(), None)
        if back is not None:
            back()
