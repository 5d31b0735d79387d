"""Results of many items, lazily: items are taken as results are, so the input may be endless.

One object serves ``for`` and ``async for``. Results are given as soon as they are there, however
long the input takes to give the next item, or if it waits for a result itself (`reading`). At most
``window`` batches are under way or wait for their turn. An answer is taken as soon as it is there,
on the thread of whoever iterates: what a chunk has left is sent again at once, whatever is waited
for, and keeps its place in the order.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from procorch.api.handle import is_ours, must_be_ours
from procorch.pool import batches
from procorch.pool.batches import Batch, Sender, Taken
from procorch.pool.reading import AT_HAND, Read, Reader, read
from procorch.pool.shapes import Raise, Shape
from procorch.pool.sizes import Sizes

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

_END: Any = object()


class Results(Generic[T]):
    """An iterator of results, for ``for`` or for ``async for``.

    Leaving it early (`close`, or when it is collected) cancels what is under way.

    Args:
        items: the input; for ``async for`` it may be asynchronous, too.
        sender: sends them.
        window: how many batches may be under way now.
        sizes: how many items make a batch.
        shape: what the caller gets of an item.
        ordered: results in the order of the items.
    """

    def __init__(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        sender: Sender,
        window: Callable[[], int],
        sizes: Sizes,
        shape: Shape,
        *,
        ordered: bool,
    ) -> None:
        self._closed = True  # until there is something to close
        self._sender = sender
        self._window = window
        self._sizes = sizes
        self._shape = shape
        self._ordered = ordered
        self._ready: deque[Any] = deque()
        self._under_way: deque[Batch] = deque()
        self._finished: queue.SimpleQueue[Batch | Read] = queue.SimpleQueue()
        self._next_index = 0
        self._exhausted = False
        self._failure: BaseException | None = None
        self._wake: Callable[[], None] | None = None
        self._news: asyncio.Event | None = None
        self._pulling: asyncio.Future[Any] | None = None
        self._reader: Reader | None = None
        self._source: Iterator[Any] | None = None
        self._async_source: AsyncIterator[Any] | None = None
        # Some inputs are both, such as the results of another pool: then it is as these are taken.
        if isinstance(items, AsyncIterable):
            self._async_source = aiter(items)
        if isinstance(items, Iterable) or self._async_source is None:
            self._source = iter(cast(Iterable[Any], items))
        self._here = isinstance(items, AT_HAND)
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
            TimeoutError: it has not come; the iteration goes on.
            StopIteration: there are no more.
            AgentError: the item failed, and that is what the caller gets; the iteration is over.
        """
        must_be_ours(self._owner)
        end = None if timeout is None else time.monotonic() + timeout
        while not self._ready:
            taken = self._more(end)
            if taken is None:
                raise StopIteration
            self._ready.extend(taken.values)
        return self._given(self._ready.popleft())

    def start(self, *, here: bool = True) -> Self:
        """Send what there is room for now, and not only when the first result is asked for.

        Args:
            here: read the input on this thread, and so wait for it.
        """
        must_be_ours(self._owner)
        self._here = self._here or (here and self._reader is None)
        with self._closing():
            self._fill()
        return self

    def collect(self) -> list[T]:
        """All results that are to come; raises like `next`."""
        must_be_ours(self._owner)
        self._here = self._here or self._reader is None
        found: list[T] = []
        while (taken := self._more(None)) is not None:
            if not taken.simple:
                for value in taken.values:
                    self._given(value)
            found += taken.values
        return found

    def _more(self, end: float | None) -> Taken | None:
        """What the next batch to be answered came to; None where there is none."""
        while True:
            with self._closing():
                self._fill()
            if self._over():
                return None
            if (taken := self._at_hand()) is not None:
                return taken
            left = None if end is None else max(0.0, end - time.monotonic())
            try:
                self._arrived(self._finished.get(timeout=left))
            except queue.Empty:
                raise TimeoutError from None

    def _closing(self) -> contextlib.ExitStack:
        """What an input raises, or Ctrl-C, ends the iteration. No generator does this: that would
        set an attribute of the exception, which the class may refuse."""
        guard = contextlib.ExitStack()
        guard.push(self._close_after)
        return guard

    def _close_after(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.close()

    def _given(self, value: Any) -> T:
        """A value for the caller, or the failure that ends the iteration."""
        if type(value) is not Raise:
            return cast(T, value)
        self.close()
        raise value.error

    def _fill(self) -> None:
        """Send items, or have them read, while there is room."""
        if self._source is None and not self._closed:
            raise TypeError("the items are asynchronous: use `async for`, not `for`")
        asked = 0 if self._reader is None else self._reader.asked
        while self._wants(asked):
            assert self._source is not None
            if self._here:
                found = read(self._source, self._sizes.next())
                if found.error is not None:
                    raise found.error
                self._got(found)
                continue
            if self._reader is None:
                self._reader = Reader(self._source, _give(self._finished, self._wake))
            self._reader.ask(self._sizes.next())
            asked = self._reader.asked

    def _wants(self, asked: int) -> bool:
        """Whether there is room for more than was asked for."""
        if self._exhausted or self._closed:
            return False
        return len(self._under_way) + asked < self._window()

    def _got(self, found: Read) -> None:
        """Items were read. What the input raised comes after the results of what it gave."""
        if found.items:
            self._send(found.items)
        if found.ended:
            self._exhausted = True
            self._failure = found.error

    def _over(self) -> bool:
        """Whether all results have been given; then the iteration is closed.

        Raises:
            BaseException: what the input raised.
        """
        if self._under_way or not (self._exhausted or self._closed):
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
        if self._news is None:
            self._listen(asyncio.get_running_loop(), asyncio.Event())
        assert self._news is not None
        while not self._ready:
            self._news.clear()
            with self._closing():
                if self._async_source is None:
                    self._fill()
                else:
                    self._pull(self._news)
            with contextlib.suppress(queue.Empty):
                while True:
                    self._arrived(self._finished.get_nowait())
            if (taken := self._at_hand()) is not None:
                self._ready.extend(taken.values)
            elif self._over():
                raise StopAsyncIteration
            else:
                await self._news.wait()
        return self._given(self._ready.popleft())

    def _listen(self, loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(news.set)

        self._news, self._wake = news, wake

    def _pull(self, news: asyncio.Event) -> None:
        """Take an item from an asynchronous input if it has come, ask for another if there is room.

        Results do not wait for the input: it may be one that waits for them.
        """
        import asyncio

        while not self._exhausted and not self._closed:
            if self._pulling is None and len(self._under_way) < self._window():
                assert self._async_source is not None
                self._pulling = asyncio.ensure_future(_pulled(self._async_source))
                self._pulling.add_done_callback(lambda _: news.set())
            if self._pulling is None or not self._pulling.done():
                return
            pulled, self._pulling = self._pulling, None
            try:
                item = pulled.result()
            except BaseException as error:
                self._got(Read([], True, error))
            else:
                self._got(Read([], True) if item is _END else Read([item], False))

    # ---- both

    def _send(self, items: list[Any]) -> None:
        index, self._next_index = self._next_index, self._next_index + len(items)
        made = batches.send(self._sender, index, items)
        self._under_way.extend(made)
        self._expect(made)

    def _expect(self, made: Sequence[Batch]) -> None:
        for batch in made:
            batch.notify(_put(self._finished, batch))
            if self._wake is not None:
                batch.notify(self._wake)

    def _arrived(self, news: Batch | Read) -> None:
        if isinstance(news, Batch):
            self._take(news)
            return
        assert self._reader is not None
        self._reader.asked -= 1
        with self._closing():
            self._got(news)

    def _take(self, batch: Batch) -> None:
        """A batch is answered: what is left of it is sent again at once, in its place."""
        batch.taken = batches.take(batch, self._sender, self._sizes, self._shape)
        again = batch.taken.again
        at = self._under_way.index(batch)
        for number, made in enumerate(again, at + 1):
            self._under_way.insert(number, made)
        if not self._ordered and at:
            del self._under_way[at]
            self._under_way.appendleft(batch)
        self._expect(again)

    def _at_hand(self) -> Taken | None:
        """The values whose turn it is, if they have come."""
        if not self._under_way or self._under_way[0].taken is None:
            return None
        return self._under_way.popleft().taken

    def close(self) -> None:
        """End the iteration: no further items are taken, what is under way is cancelled."""
        must_be_ours(self._owner)
        self._close()

    def _close(self) -> None:
        self._closed = True
        self._ready.clear()
        self._source = self._failure = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._pulling is not None:
            self._pulling.cancel()
            self._pulling = None
        for batch in self._under_way:
            batch.cancel()
        self._under_way.clear()
        self._finished = queue.SimpleQueue()  # what comes late is for nobody

    async def aclose(self) -> None:
        """Like `close`; an asynchronous input that is waited for is cancelled and closed, too."""
        must_be_ours(self._owner)
        import asyncio

        pulling = self._pulling
        self.close()
        if pulling is not None:
            await asyncio.wait([pulling])
        close = getattr(self._async_source, "aclose", None)
        if close is not None:
            await close()

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # At the end of the interpreter everything is closed already, and modules have no names.
        if not finalizing() and not self._closed and is_ours(self._owner):
            self._close()


def _put(finished: queue.SimpleQueue[Batch | Read], batch: Batch) -> Callable[[], None]:
    return lambda: finished.put(batch)


def _give(
    finished: queue.SimpleQueue[Batch | Read], wake: Callable[[], None] | None
) -> Callable[[Read], None]:
    """For the thread of a reader, which must not keep the iteration from being collected."""

    def give(found: Read) -> None:
        finished.put(found)
        if wake is not None:
            wake()

    return give


async def _pulled(source: AsyncIterator[Any]) -> Any:
    return await anext(source, _END)
