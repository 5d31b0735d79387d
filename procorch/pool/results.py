"""Results of many items, lazily: items are read as results are taken, so the input may be endless.

One object serves ``for`` and ``async for``. A result is given as soon as it has arrived, however
long the input takes to give its next item, even if the input waits for a result itself. Answers are
handled on the thread that iterates: what a chunk leaves undone is sent again at once, and keeps its
place in the order.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import time
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from procorch.futures.fork_guard import is_ours, must_be_ours
from procorch.futures.wakeups import waker
from procorch.pool.chunk_sizes import ChunkSizes
from procorch.pool.chunks import Answer, Chunk, Sender
from procorch.pool.in_flight import Inbox, InFlight
from procorch.pool.input_reader import (
    NEVER_WAITS,
    AsyncInput,
    InputPart,
    InputReader,
    iterate,
    read,
)
from procorch.pool.result_formats import ResultFormat, ToRaise

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


class Results(Generic[T]):
    """An iterator of results, for ``for`` or for ``async for``.

    Leaving it early (`close`, or when it is collected) cancels what is under way.

    Args:
        items: the input; for ``async for`` it may be asynchronous, too.
        sender: sends the items.
        window: how many chunks may be under way or wait for their turn; asked again each time.
        sizes: how many items make a chunk.
        form: what the caller gets of an item.
        ordered: results in the order of the items.

    Example:
        >>> with AgentPool(lambda: abs, workers=1) as pool:
        ...     for output in pool.imap([-1, 2]):
        ...         print(output)
        1
        2
    """

    def __init__(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        sender: Sender,
        window: Callable[[], int],
        sizes: ChunkSizes,
        form: ResultFormat,
        *,
        ordered: bool,
    ) -> None:
        self._closed = True  # `__del__` closes nothing if this method raises
        self._window = window
        self._sizes = sizes
        self._inbox = Inbox()
        self._in_flight = InFlight(sender, sizes, form, self._inbox, ordered=ordered)
        self._ready: deque[Any] = deque()
        self._exhausted = False
        self._failure: BaseException | None = None
        self._arrived: asyncio.Event | None = None
        self._reader: InputReader | None = None
        self._source: Iterator[Any] | None = None
        self._async_input: AsyncInput | None = None
        # Some inputs are both, such as the results of another pool. They are read in the way in
        # which these results are.
        if isinstance(items, AsyncIterable):
            self._async_input = AsyncInput(aiter(items))
        if isinstance(items, Iterable) or self._async_input is None:
            self._source = iterate(cast(Iterable[Any], items))
        self._read_here = isinstance(items, NEVER_WAITS)
        self._owner = os.getpid()
        self._closed = False

    # ---- for

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self.next(None)

    def next(self, timeout: float | None) -> T:
        """The next result, waiting at most ``timeout`` seconds for it.

        Raises:
            TimeoutError: it has not arrived; the iteration goes on.
            StopIteration: there are no more.
            AgentError: the item failed, and outputs were asked for; the iteration is over.
        """
        must_be_ours(self._owner)
        end = None if timeout is None else time.monotonic() + timeout
        while not self._ready:
            answer = self._next_answer(end)
            if answer is None:
                raise StopIteration
            self._ready.extend(answer.values)
        return self._value(self._ready.popleft())

    def start(self, *, here: bool = True) -> Self:
        """Send as many items as there is room for, before the first result is asked for.

        Args:
            here: read the input on this thread, and so wait for it.
        """
        must_be_ours(self._owner)
        self._read_here = self._read_here or (here and self._reader is None)
        with self._closing_on_error():
            self._fill()
        return self

    def collect(self) -> list[T]:
        """All results that are to come; raises like `next`."""
        must_be_ours(self._owner)
        self._read_here = self._read_here or self._reader is None
        found: list[T] = []
        while (answer := self._next_answer(None)) is not None:
            if not answer.simple:
                for value in answer.values:
                    self._value(value)
            found += answer.values
        return found

    def _next_answer(self, end: float | None) -> Answer | None:
        """The next answer in order, waiting until ``end``; None: there are no more."""
        while True:
            with self._closing_on_error():
                self._fill()
            if self._is_over():
                return None
            if (answer := self._in_flight.next_answer()) is not None:
                return answer
            left = None if end is None else max(0.0, end - time.monotonic())
            try:
                self._handle(self._inbox.get(left))
            except queue.Empty:
                raise TimeoutError from None

    def _closing_on_error(self) -> contextlib.ExitStack:
        """A block in which an exception of the input, or Ctrl-C, ends the iteration.

        This is no generator with ``@contextmanager``: that would set an attribute of the exception,
        which the class of the exception may refuse.
        """
        guard = contextlib.ExitStack()
        guard.push(self._close_on_error)
        return guard

    def _close_on_error(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.close()

    def _value(self, value: Any) -> T:
        """A value for the caller; a failure is raised, and ends the iteration."""
        if type(value) is not ToRaise:
            return cast(T, value)
        self.close()
        raise value.error

    def _fill(self) -> None:
        """Send items, or have them read, while there is room."""
        if self._source is None and not self._closed:
            raise TypeError("the items are asynchronous: use `async for`, not `for`")
        pending = 0 if self._reader is None else self._reader.pending
        while self._has_room(pending):
            assert self._source is not None
            if self._read_here:
                part = read(self._source, self._sizes.next())
                if part.error is not None:
                    raise part.error
                self._send(part)
                continue
            if self._reader is None:
                self._reader = InputReader(self._source, self._inbox.put)
            self._reader.ask(self._sizes.next())
            pending = self._reader.pending

    def _has_room(self, pending: int = 0) -> bool:
        """Whether another chunk may be sent, beside ``pending`` ones that are being read."""
        if self._exhausted or self._closed:
            return False
        return len(self._in_flight) + pending < self._window()

    def _send(self, part: InputPart) -> None:
        """Send items that were read. What the input raised comes after all of their results."""
        if part.items:
            self._in_flight.send(part.items)
        if part.ended:
            self._exhausted = True
            self._failure = part.error

    def _handle(self, arrived: Chunk | InputPart) -> None:
        if isinstance(arrived, Chunk):
            self._in_flight.answered(arrived)
            return
        assert self._reader is not None
        self._reader.pending -= 1
        with self._closing_on_error():
            self._send(arrived)

    def _is_over(self) -> bool:
        """Whether all results have been given; then the iteration is closed.

        Raises:
            BaseException: what the input raised.
        """
        if self._in_flight or not (self._exhausted or self._closed):
            return False
        failure, self._failure = self._failure, None
        self.close()
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback refers to this frame
        return True

    # ---- async for

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        import asyncio

        must_be_ours(self._owner)
        if self._arrived is None:
            self._arrived = asyncio.Event()
            self._inbox.wake = waker(asyncio.get_running_loop(), self._arrived.set)
        while not self._ready:
            self._arrived.clear()
            with self._closing_on_error():
                if self._async_input is None:
                    self._fill()
                else:
                    self._fill_from(self._async_input, self._arrived.set)
            with contextlib.suppress(queue.Empty):
                while True:
                    self._handle(self._inbox.get_nowait())
            if (answer := self._in_flight.next_answer()) is not None:
                self._ready.extend(answer.values)
            elif self._is_over():
                raise StopAsyncIteration
            else:
                await self._arrived.wait()
        return self._value(self._ready.popleft())

    def _fill_from(self, source: AsyncInput, wake: Callable[[], object]) -> None:
        """Send items that an asynchronous input has given; ask for another if there is room."""
        while not self._exhausted and not self._closed:
            if self._has_room():
                source.ask(wake)
            part = source.take()
            if part is None:
                return
            self._send(part)

    # ---- both

    def close(self) -> None:
        """End the iteration: no further items are read, what is under way is cancelled."""
        must_be_ours(self._owner)
        self._close()

    def _close(self) -> asyncio.Future[Any] | None:
        """Returns the task that reads an asynchronous input, cancelled, if there is one."""
        self._closed = True
        self._ready.clear()
        self._source = self._failure = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        reading = None if self._async_input is None else self._async_input.cancel()
        self._in_flight.cancel()
        self._inbox.close()
        return reading

    async def aclose(self) -> None:
        """Like `close`; an asynchronous input that is waited for is cancelled and closed, too."""
        must_be_ours(self._owner)
        import asyncio

        reading = self._close()
        if reading is not None:
            await asyncio.wait([reading])
        if self._async_input is not None:
            await self._async_input.aclose()

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # At the end of the interpreter everything is closed, and modules have lost their names.
        if not finalizing() and not self._closed and is_ours(self._owner):
            self._close()
