"""Reading an input that may take its time, or that waits for a result of what it gave before.

It is read on a thread of its own, so that results are given while it is waited for. It is read no
further ahead than there is room for what it gives, and the thread ends with it.
"""

from __future__ import annotations

import contextvars
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

AT_HAND = (
    list, tuple, range, set, frozenset, dict, str, bytes, deque, itertools.count, itertools.repeat,
)  # fmt: skip
"""Inputs that nobody waits for: no thread is needed."""


class Read(NamedTuple):
    """What was read.

    Args:
        items: fewer than were asked for where the input has ended.
        ended: it gives no more.
        error: what it raised.
    """

    items: list[Any]
    ended: bool
    error: BaseException | None = None


class Reader:
    """Reads an input on a thread, as much as it is asked for.

    Args:
        source: the input; nothing is kept of it when it has ended, or after `close`.
        give: takes what was read; called on the thread.
    """

    def __init__(self, source: Iterator[Any], give: Callable[[Read], None]) -> None:
        self._orders: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self.asked: int = 0
        """Orders that have not been answered; counted by whoever gives them."""
        run = contextvars.copy_context().run
        threading.Thread(
            target=run,
            args=(_read, source, self._orders, self._closed.is_set, give),
            name="procorch-input",
            daemon=True,
        ).start()

    def ask(self, count: int) -> None:
        """Have the next ``count`` items read."""
        self.asked += 1
        self._orders.put(count)

    def close(self) -> None:
        """Nothing more is wanted. An input that is being waited for is let go when it has given
        something: nobody can be made to leave it before."""
        self._closed.set()
        self._orders.put(None)

    def __del__(self) -> None:
        self._orders.put(None)  # nobody is left to ask for more


def _read(
    source: Iterator[Any],
    orders: queue.SimpleQueue[int | None],
    closed: Callable[[], bool],
    give: Callable[[Read], None],
) -> None:
    while (count := orders.get()) is not None and not closed():
        found = read(source, count)
        give(found)
        if found.ended:
            return


def read(source: Iterator[Any], count: int) -> Read:
    """The next ``count`` items; those before an error are not lost with it."""
    items: list[Any] = []
    try:
        items.extend(itertools.islice(source, count))
    except BaseException as error:  # the user's, for whoever takes the results
        return Read(items, True, error)
    return Read(items, len(items) < count)
