"""A ``map`` over an input that may be slow, or that waits for a result of an item it gave before.

With a ``buffersize`` the input is read while results are taken. A thread reads it and sends the
calls (`pool.input_reader`). So a result is given as soon as it has arrived, and calls are made even
if no result is read.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from procorch.executor.mapping import MapChunk, Sender, results_of_first
from procorch.pool.input_reader import InputPart, InputReader


class SentPart(NamedTuple):
    """The calls that one order has read, as they were sent; see `InputPart`."""

    chunks: list[MapChunk]
    ended: bool
    error: BaseException | None


def results(
    source: Iterator[Any], sender: Sender, size: int, window: int, end: float | None
) -> Iterator[Any]:
    """Like `mapping.results`. What the input raises comes after all results of its items."""
    input_sender = InputSender(sender, window)
    reader = InputReader(source, input_sender.send)
    for _ in range(window):
        reader.ask(size)
    return _read(input_sender, reader, size, window, end)


class InputSender:
    """Sends the calls that are read, on the thread that reads them.

    Args:
        orders: how many orders the ``map`` itself gives. A shutdown waits until these were read and
            sent, or until results are read; the standard library's ``map`` sends them at once.
    """

    def __init__(self, sender: Sender, orders: int) -> None:
        self.sender = sender
        self.sent: queue.SimpleQueue[SentPart] = queue.SimpleQueue()
        self._unsent_orders = orders
        self._closed = False
        sender.closing.input_opened(self)

    def send(self, found: InputPart) -> None:
        """Send the calls that were read, and hand their chunks to the reader of the results."""
        chunks: list[MapChunk] = []
        ended, error = found.ended, found.error
        try:
            if found.items and not self._closed:
                chunks = self.sender.send(list(found.items), self)
        except BaseException as refusal:  # after a shutdown, or raised while serialising
            ended, error = True, refusal
        self.sent.put(SentPart(chunks, ended, error))
        self._unsent_orders -= 1
        if ended or self._unsent_orders == 0:
            self.input_sent()
        if self._closed:
            self._cancel_sent()

    def input_sent(self) -> None:
        """Note that a shutdown need not wait: results are read, or the first orders were sent."""
        self.sender.closing.input_sent(self)

    def close(self) -> None:
        """Cancel what is sent from now on.

        The flag is set first, and then what was sent is cancelled. `send` first adds a part, and
        then looks at the flag. So nothing is missed.
        """
        self._closed = True
        self.input_sent()
        self._cancel_sent()

    def _cancel_sent(self) -> None:
        while not self.sent.empty():
            try:
                sent = self.sent.get_nowait()
            except queue.Empty:
                return
            for chunk in sent.chunks:
                chunk.cancel()


def _read(
    input_sender: InputSender, reader: InputReader, size: int, window: int, end: float | None
) -> Iterator[Any]:
    chunks: deque[MapChunk] = deque()
    last: SentPart | None = None

    def ask_for_more() -> None:
        while last is None and len(chunks) + reader.pending < window:
            reader.ask(size)

    input_sender.input_sent()
    try:
        while True:
            input_sender.sender.must_be_ours()
            while last is None and (sent := _next(input_sender, end, wait=not chunks)):
                reader.pending -= 1
                chunks.extend(sent.chunks)
                last = sent if sent.ended else None
            if not chunks:
                break
            yield from results_of_first(chunks, end, ask_for_more)
        if last is not None and last.error is not None:
            raise last.error
    finally:
        last = None
        reader.close()
        input_sender.close()
        for chunk in chunks:
            chunk.cancel()


def _next(input_sender: InputSender, end: float | None, *, wait: bool) -> SentPart | None:
    """The next part that was sent; None: there is none yet.

    Raises:
        TimeoutError: there was none until ``end``.
    """
    left = None if end is None else max(0.0, end - time.monotonic())
    try:
        return input_sender.sent.get(wait, left if wait else None)
    except queue.Empty:
        if wait:
            raise TimeoutError from None
        return None
