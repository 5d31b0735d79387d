"""Reading an input that may be slow, or that waits for a result of an item it gave before.

It is read on a thread of its own, so that results are given while the input is waited for. The
thread reads no further ahead than there is room for, and ends with the input.
"""

from __future__ import annotations

import contextvars
import itertools
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    import asyncio

NEVER_WAITS = (
    list, tuple, range, set, frozenset, dict, str, bytes, deque, itertools.count, itertools.repeat,
)  # fmt: skip
"""Inputs that give their next item at once: no thread is needed."""

_END: Any = object()


class SlicedInput(Iterator[Any]):
    """A list or a range as an input: its items are taken by slices, of a range without making them.

    Args:
        items: the input.
    """

    def __init__(self, items: list[Any] | range) -> None:
        self._items = items
        self._at = 0

    def __next__(self) -> Any:
        for item in self.take(1):
            return item
        raise StopIteration

    def take(self, count: int) -> Sequence[Any]:
        """The next ``count`` items, fewer at the end."""
        items = self._items[self._at : self._at + count]
        self._at += len(items)
        return items


def iterate(items: Iterable[Any]) -> Iterator[Any]:
    """An iterator of an input, for `read`."""
    kind = type(items)
    return SlicedInput(cast(Any, items)) if kind is list or kind is range else iter(items)


class InputPart(NamedTuple):
    """Items that were read from an input.

    Args:
        items: fewer than were asked for if the input has ended.
        ended: the input gives no more.
        error: what the input raised.
    """

    items: Sequence[Any]
    ended: bool
    error: BaseException | None = None


class InputReader:
    """Reads an input on a thread, as many items as are asked for.

    Args:
        source: the input; no reference to it is kept after its end, or after `close`.
        put: called on the thread with the items that were read.
    """

    def __init__(self, source: Iterator[Any], put: Callable[[InputPart], None]) -> None:
        self._orders: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self.pending: int = 0
        """How many calls of `ask` have not been answered; whoever takes an answer counts down."""
        run = contextvars.copy_context().run
        threading.Thread(
            target=run,
            args=(_read_orders, source, self._orders, self._closed.is_set, put),
            name="procorch-input",
            daemon=True,
        ).start()

    def ask(self, count: int) -> None:
        """Have the next ``count`` items read."""
        self.pending += 1
        self._orders.put(count)

    def close(self) -> None:
        """End the thread: at once if it is idle, else as soon as the input gives its next item."""
        self._closed.set()
        self._orders.put(None)

    def __del__(self) -> None:
        self._orders.put(None)  # nothing can ask for more, so the thread ends


def _read_orders(
    source: Iterator[Any],
    orders: queue.SimpleQueue[int | None],
    closed: Callable[[], bool],
    put: Callable[[InputPart], None],
) -> None:
    while (count := orders.get()) is not None and not closed():
        part = read(source, count)
        put(part)
        if part.ended:
            return


def read(source: Iterator[Any], count: int) -> InputPart:
    """The next ``count`` items; an error does not discard the items before it."""
    if isinstance(source, SlicedInput):
        part = source.take(count)
        return InputPart(part, len(part) < count)
    items: list[Any] = []
    try:
        items.extend(itertools.islice(source, count))
    except BaseException as error:  # raised by the user's iterator; the reader of results gets it
        return InputPart(items, True, error)
    return InputPart(items, len(items) < count)


class AsyncInput:
    """An asynchronous input, read one item at a time by a task of the running event loop.

    Results do not wait for the input, which may itself wait for results.
    """

    def __init__(self, source: AsyncIterator[Any]) -> None:
        self._source = source
        self._task: asyncio.Future[Any] | None = None

    def ask(self, wake: Callable[[], object]) -> None:
        """Have the next item read, unless one is being read; ``wake`` is called when it is."""
        if self._task is None:
            import asyncio

            self._task = asyncio.ensure_future(_next_item(self._source))
            self._task.add_done_callback(lambda _: wake())

    def take(self) -> InputPart | None:
        """The item that was read; None: none is there yet."""
        if self._task is None or not self._task.done():
            return None
        task, self._task = self._task, None
        try:
            item = task.result()
        except BaseException as error:
            return InputPart([], True, error)
        return InputPart([], True) if item is _END else InputPart([item], False)

    def cancel(self) -> asyncio.Future[Any] | None:
        """Stop waiting for the next item.

        Returns:
            The task that was waiting, if there was one.
        """
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        return task

    async def aclose(self) -> None:
        """Close the input itself."""
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()


async def _next_item(source: AsyncIterator[Any]) -> Any:
    return await anext(source, _END)
