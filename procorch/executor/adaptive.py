"""A ``map`` that chooses how many calls go together.

Calls go one at a time at first. When they take less than some milliseconds, more of them go into
one chunk (`pool.chunk_sizes`). A thread sends the next chunk when one is done, so that all calls
are made even if no result is read. A worker gives the rest of a chunk back that takes long, and the
rest is sent again in smaller chunks.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from procorch.errors import AgentError
from procorch.executor.mapping import MapChunk, Sender, results_of_first
from procorch.futures import socket_readers
from procorch.futures.chunk import ItemList
from procorch.pool.chunk_sizes import ChunkSizes


def results(
    calls: ItemList, sender: Sender, sizes: ChunkSizes, window: int, end: float | None
) -> Iterator[Any]:
    """Like `mapping.results`, for calls that are serialised already.

    Raises:
        RuntimeError: no thread can be started.
    """
    return _read(Feeder(calls, sender, sizes, window), end)


class Feeder:
    """Sends the calls, on a thread that ends when all of them have an outcome.

    Args:
        sizes: the sizes of the chunks; they follow the time that chunks took.
        window: how many chunks may be under way.

    Attributes:
        sent: the chunks, in the order of the calls; None after the last.
    """

    def __init__(self, calls: ItemList, sender: Sender, sizes: ChunkSizes, window: int) -> None:
        self.sender = sender
        self.sent: queue.SimpleQueue[list[MapChunk] | None] = queue.SimpleQueue()
        self._calls = calls
        self._sizes = sizes
        self._window = window
        self._settled: queue.SimpleQueue[MapChunk] = queue.SimpleQueue()
        sender.on_settled = self._settled.put
        sender.closing.input_opened(self)
        try:
            threading.Thread(target=self._run, name="procorch-map", daemon=True).start()
        except BaseException:
            sender.closing.input_sent(self)
            raise

    def close(self) -> None:
        """Cancel what was sent, and send nothing more.

        The flag is set first, and then what was sent is cancelled. `_hand_in` first adds chunks,
        and then looks at the flag. So nothing is missed.
        """
        self.sender.wanted = False
        self._cancel_sent()

    def _run(self) -> None:
        position, under_way, total = 0, 0, len(self._calls.entries)
        while (position < total and self.sender.wanted) or under_way:
            while position < total and under_way < self._window and self.sender.wanted:
                size = self._sizes.next()
                chunks = self._send(self._calls.part(position, position + size))
                position = position + size if chunks else total
                under_way += _replies(chunks)
                self._hand_in(chunks)
                if position >= total:
                    self._hand_in(None)
            if under_way:
                under_way += self._follow(self._settled.get()) - 1
        self.sender.closing.input_sent(self)

    def _send(self, calls: ItemList) -> list[MapChunk]:
        """Send calls; nothing if the executor was told to cancel them."""
        if self.sender.closing.accepts(self):
            return self.sender.send_packed(calls)
        self._hand_in([MapChunk(self.sender, error=self.sender.closing.refusal())])
        return []

    def _hand_in(self, chunks: list[MapChunk] | None) -> None:
        self.sent.put(chunks)
        if chunks is None:
            self.sender.closing.input_sent(self)
        if not self.sender.wanted:
            self._cancel_sent()

    def _cancel_sent(self) -> None:
        while not self.sent.empty():
            try:
                sent = self.sent.get_nowait()
            except queue.Empty:
                return
            for chunk in sent or ():
                chunk.cancel()

    def _follow(self, chunk: MapChunk) -> int:
        """Note how long a chunk took, and send what follows for it; returns how many chunks."""
        assert chunk.reply is not None
        reply = chunk.reply
        with contextlib.suppress(AgentError):  # a damaged reply is the reader's error
            if reply.failure is not None:
                self._sizes.failed(reply.count())
            elif reply.metrics is not None and not reply.cancelled():
                self._sizes.took(reply.count(), reply.metrics.wall)
        try:
            return _replies(chunk.rest())
        except AgentError:  # likewise
            return 0


def _replies(chunks: list[MapChunk]) -> int:
    return sum(chunk.reply is not None for chunk in chunks)


def _read(feeder: Feeder, end: float | None) -> Iterator[Any]:
    chunks: deque[MapChunk] = deque()
    try:
        while True:
            feeder.sender.must_be_ours()
            if not chunks:
                socket_readers.give_back()
                left = None if end is None else max(0.0, end - time.monotonic())
                try:
                    sent = feeder.sent.get(timeout=left)
                except queue.Empty:
                    raise TimeoutError from None
                if sent is None:
                    return
                chunks.extend(sent)
                continue
            yield from results_of_first(chunks, end)
    finally:
        feeder.close()
        for chunk in chunks:
            chunk.cancel()
