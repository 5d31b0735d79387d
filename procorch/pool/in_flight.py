"""Chunks under way, in the order in which their results are given."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from procorch.pool import chunks
from procorch.pool.chunk_sizes import ChunkSizes
from procorch.pool.chunks import Answer, Chunk, Sender
from procorch.pool.input_reader import InputPart
from procorch.pool.result_formats import ResultFormat


class Inbox:
    """Answers and items of the input that have arrived; any thread may put one in.

    It does not refer to the iteration that reads it, so that the iteration can be collected while
    futures and the thread of an input still refer to the inbox.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Chunk | InputPart] = queue.SimpleQueue()
        self._closed = False
        self.wake: Callable[[], None] | None = None
        """Called after each `put`; set by an asynchronous iteration."""

    def put(self, arrived: Chunk | InputPart) -> None:
        """Add what has arrived; after `close` it is dropped."""
        if self._closed:
            return
        self._queue.put(arrived)
        if self.wake is not None:
            self.wake()

    def get(self, timeout: float | None) -> Chunk | InputPart:
        """What has arrived next, waiting at most ``timeout`` seconds for it.

        Raises:
            queue.Empty: nothing has arrived.
        """
        return self._queue.get(timeout=timeout)

    def get_nowait(self) -> Chunk | InputPart:
        """What has arrived next; raises like `get`."""
        return self._queue.get_nowait()

    def close(self) -> None:
        """Drop what has arrived, and what arrives from now on."""
        self._closed = True
        self._queue = queue.SimpleQueue()


class InFlight:
    """Sends items and keeps their chunks in order until their results are given.

    What a chunk leaves undone is sent again as soon as the answer arrives, and keeps its place in
    the order.

    Args:
        sender: sends the items.
        sizes: how many items go together.
        form: what the caller gets of each item.
        ordered: results are given in the order of the items, else in the order of their arrival.
        inbox: where a chunk is put when its answer has arrived.
    """

    def __init__(
        self, sender: Sender, sizes: ChunkSizes, form: ResultFormat, inbox: Inbox, *, ordered: bool
    ) -> None:
        self._sender = sender
        self._sizes = sizes
        self._form = form
        self._inbox = inbox
        self._ordered = ordered
        self._chunks: deque[Chunk] = deque()
        self._next_index = 0

    def __len__(self) -> int:
        return len(self._chunks)

    def send(self, items: Sequence[Any]) -> None:
        """Send new items."""
        index, self._next_index = self._next_index, self._next_index + len(items)
        sent = chunks.send(self._sender, index, items)
        self._chunks.extend(sent)
        self._expect(sent)

    def _expect(self, sent: Sequence[Chunk]) -> None:
        for chunk in sent:
            chunk.notify(partial(self._inbox.put, chunk))

    def answered(self, chunk: Chunk) -> None:
        """Handle the answer to a chunk, which has arrived."""
        answer = chunks.handle_answer(chunk, self._sender, self._sizes, self._form)
        chunk.answer = answer
        at = self._chunks.index(chunk)
        for place, resent in enumerate(answer.resent, at + 1):
            self._chunks.insert(place, resent)
        if not self._ordered and at:
            del self._chunks[at]
            self._chunks.appendleft(chunk)
        self._expect(answer.resent)

    def next_answer(self) -> Answer | None:
        """The answer whose values are to be given next; None: it has not arrived."""
        if not self._chunks or self._chunks[0].answer is None:
            return None
        return self._chunks.popleft().answer

    def cancel(self) -> None:
        """Cancel what is under way."""
        for chunk in self._chunks:
            chunk.cancel()
        self._chunks.clear()
