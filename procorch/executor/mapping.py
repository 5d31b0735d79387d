"""The calls of one ``map``: sent at once, made even if no result is read, and read in order.

Calls are sent in chunks of ``chunksize``. A chunk ends with its first failure (`pool.blame`), and
the calls after it are sent again as further chunks in its place. Their arguments were serialised by
the caller of ``map`` and are sent unchanged; results are decoded by the thread that reads them. So
sending again runs no code of the user, and a thread of procorch can do it if no result is read.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from procorch.api.pool_handle import PoolHandle
from procorch.errors import (
    Aborted,
    AgentCrashed,
    AgentError,
    AgentStopped,
    MessageTooLarge,
    SerializationError,
)
from procorch.executor.call import packed_function
from procorch.executor.closing import Closing
from procorch.executor.errors import translated
from procorch.futures.chunk import BrokenItem, ChunkReply, ItemList
from procorch.pool.blame import blamed_item
from procorch.pool.chunk_sizes import ChunkSizes

NONE = ItemList(True, [])
"""A chunk without calls."""


class Sender:
    """Sends the calls of one function.

    Args:
        unpack: a call is a tuple of arguments; else it is the only argument.
        sizes: a worker gives the rest of a chunk back that takes long, and the rest is sent again
            in chunks of this size; None: no part of a chunk is given back.

    Attributes:
        on_settled: called with a chunk when its outcome is fixed; must neither block nor raise.
        wanted: False if nobody reads the results; then nothing is sent again.

    Raises:
        SerializationError: the function cannot be serialised.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        queue: PoolHandle,
        closing: Closing,
        *,
        unpack: bool,
        sizes: ChunkSizes | None = None,
    ) -> None:
        self.on_settled: Callable[[MapChunk], None] = MapChunk.settled
        self.wanted: bool = True
        self._sizes = sizes
        self._pack = partial(
            ItemList.of_rows if unpack else ItemList.of,
            what="arguments",
            prelude=packed_function(function),
        )
        self._queue = queue
        self.closing = closing

    def must_be_ours(self) -> None:
        """See `PoolHandle.must_be_ours`."""
        self._queue.must_be_ours()

    def send(self, calls: list[Any], source: object = None) -> list[MapChunk]:
        """Send calls as one chunk, or as several if one of them cannot be sent.

        Args:
            source: what has read the calls, see `Closing.accepts`.

        Raises:
            RuntimeError: the executor has been shut down.
        """
        packed = self._packed(calls)
        if not self.closing.accepts(source):
            raise RuntimeError("cannot schedule new futures after shutdown")
        sent: list[MapChunk] = []
        for part in packed:
            sent += self.again(part) if isinstance(part, ItemList) else [MapChunk(self, error=part)]
        return sent

    def pack(self, calls: list[Any]) -> ItemList:
        """Serialise calls.

        Raises:
            SerializationError: one of them cannot be serialised.
        """
        return self._pack(calls)

    def _packed(self, calls: list[Any]) -> list[ItemList | AgentError]:
        """The calls, serialised; an error in place of a call that cannot be serialised."""
        try:
            return [self._pack(calls)]
        except SerializationError as error:
            if len(calls) == 1:
                return [error]
        half = len(calls) // 2
        return self._packed(calls[:half]) + self._packed(calls[half:])

    def again(self, calls: ItemList, deaths: int = 0) -> list[MapChunk]:
        """Send serialised calls."""
        count = len(calls.entries)
        size = max(count, 1) if self._sizes is None else self._sizes.again()
        sent: list[MapChunk] = []
        for at in range(0, count, size):
            sent += self.send_packed(calls.part(at, at + size), deaths)
        return sent

    def given_back(self, calls: ItemList, reply: ChunkReply) -> list[MapChunk]:
        """Send the calls that a worker has given back."""
        return [] if self._sizes is None else self.again(calls.part(reply.count()))

    def send_packed(self, calls: ItemList, deaths: int = 0) -> list[MapChunk]:
        """Send serialised calls as one chunk, or as several if they are too large."""
        try:
            reply = self._queue.deliver_chunk(calls, whole=self._sizes is None)
        except MessageTooLarge as error:
            half = len(calls.entries) // 2
            if not half:
                return [MapChunk(self, error=error)]
            first = self.send_packed(calls.part(0, half), deaths)
            return first + self.send_packed(calls.part(half), deaths)
        chunk = MapChunk(self, calls, reply, deaths=deaths)
        self.closing.chunk_sent(chunk)
        reply.notify(partial(self.on_settled, chunk))
        return [chunk]


class MapChunk:
    """Calls that were sent together, or the failure of one call.

    Args:
        calls: the serialised calls.
        reply: the future of the answer; None for a failure.
        error: the failure of a call that could not be sent.
        failed: the reply of another chunk that has the failure.
        deaths: workers that have died with these calls before any of them began.
    """

    __slots__ = ("_calls", "_deaths", "_error", "_failed", "_lock", "_rest", "_sender", "reply")

    def __init__(
        self,
        sender: Sender,
        calls: ItemList = NONE,
        reply: ChunkReply | None = None,
        *,
        error: AgentError | None = None,
        failed: ChunkReply | None = None,
        deaths: int = 0,
    ) -> None:
        self._sender = sender
        self._calls = calls
        self.reply: ChunkReply | None = reply
        self._error = error
        self._failed = failed
        self._deaths = deaths
        self._lock = threading.Lock()
        self._rest: list[MapChunk] | None = None

    def cancel(self) -> None:
        """Cancel the calls."""
        if self.reply is not None and self.reply.ours:  # the iteration may be collected in a fork
            self.reply.cancel()

    def settled(self) -> None:
        """Called when the outcome is fixed, usually on the monitor thread; does not block."""
        assert self.reply is not None
        alone = len(self._calls.entries) == 1 and not isinstance(self.reply.failure, AgentCrashed)
        if self.reply.failure is None or alone:
            self._sender.closing.chunk_done(self)
            return
        try:
            threading.Thread(target=self.rest, name="procorch-map", daemon=True).start()
        except RuntimeError:  # The interpreter exits.
            self.rest()

    def rest(self) -> list[MapChunk]:
        """The chunks that follow after a failure, or for calls that were given back; sent once, by
        the reader or by another thread."""
        with self._lock:
            if self._rest is None:
                try:
                    self._rest = self._send_rest()
                finally:
                    self._sender.closing.chunk_done(self)
            return self._rest

    def _send_rest(self) -> list[MapChunk]:
        reply, calls = self.reply, self._calls
        assert reply is not None
        error = reply.failure
        if reply.cancelled() or not self._sender.wanted:
            return []
        if error is None:
            return self._sender.given_back(calls, reply)
        failed = [MapChunk(self._sender, failed=reply)]
        if isinstance(error, AgentStopped | Aborted) or self._sender.closing.cancelled:
            return failed
        count, begun = reply.count(), reply.items.begun
        blamed = blamed_item(
            error, answered=count, begun=begun, sent=len(calls.entries), deaths=self._deaths
        )
        if blamed is None:
            return self._sender.again(calls.part(count), self._deaths + 1)
        before, after = calls.part(count, blamed), calls.part(blamed + 1)
        return self._sender.again(before) + failed + self._sender.again(after)

    def parts(self, end: float | None) -> Iterator[tuple[Iterable[Any], bool]]:
        """The results as they come, part by part, each part with whether it is the last.

        Raises:
            TimeoutError: nothing new has come until ``end``.
            BaseException: the failure, if this chunk is one.
        """
        if self._error is not None:
            raise translated(self._error)
        if self._failed is not None:
            error = self._failed.exception()
            assert error is not None
            raise translated(error)
        assert self.reply is not None
        for part, last in self.reply.arriving(end):
            found = part.items(what="reply")
            yield found if part.simple else _one_by_one(found), last


def results(
    calls: Iterable[Any],
    sender: Sender,
    size: int,
    window: int | None,
    end: float | None,
) -> Iterator[Any]:
    """Send calls now, and return a generator of their results.

    Closing the generator after it was started cancels what is under way. A generator that was never
    started cancels nothing, as in the standard library.

    Args:
        size: number of calls in a chunk.
        window: number of chunks that may be under way or wait to be read; None: any number.
        end: monotonic seconds; waiting beyond it raises ``TimeoutError``.
    """
    source = iter(calls)
    chunks: deque[MapChunk] = deque()

    def fill() -> None:
        while window is None or len(chunks) < window:
            if not (part := list(islice(source, size))):
                return
            chunks.extend(sender.send(part))

    def refill() -> None:
        if not sender.closing.begun:
            fill()

    def read() -> Iterator[Any]:
        try:
            while chunks:
                yield from results_of_first(chunks, end, refill)
                if not chunks:
                    fill()  # raises after a shutdown if a call is left to send
        finally:
            for chunk in chunks:
                chunk.cancel()

    try:
        fill()
    except BaseException:  # raised by the input, or Ctrl-C
        for chunk in chunks:
            chunk.cancel()
        raise
    return read()


def results_of_first(
    chunks: deque[MapChunk], end: float | None, removed: Callable[[], object] = lambda: None
) -> Iterator[Any]:
    """The results of the first of ``chunks``.

    Before the last of them are given, the chunk is replaced by those that follow for it (see
    `MapChunk.rest`), and ``removed`` is called.
    """
    for found, last in chunks[0].parts(end):
        if last:
            chunks.extendleft(reversed(chunks.popleft().rest()))
            removed()
        yield from found


def failing(error: AgentError) -> Iterator[Any]:
    """The iterator of a ``map`` whose function cannot be sent: it raises ``error``."""
    raise translated(error)
    yield


def _one_by_one(outputs: list[Any]) -> Iterator[Any]:
    """Results one by one; a result that was given is not kept."""
    outputs.reverse()
    while outputs:
        yield _value_or_raise(outputs.pop())


def _value_or_raise(output: Any) -> Any:
    if type(output) is BrokenItem:
        raise translated(output.error)
    return output
