"""A ``map`` over an input that takes its time, or that waits for a result of what it gave before.

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

from procorch.executor.mapping import Piece, Sender
from procorch.pool.input_reader import InputPart, InputReader


class Sent(NamedTuple):
    """What was read by one order, on its way to the workers; see `InputPart`."""

    pieces: list[Piece]
    ended: bool
    error: BaseException | None


def results(
    source: Iterator[Any], sender: Sender, size: int, window: int, end: float | None
) -> Iterator[Any]:
    """Like `mapping.results`. What the input raises comes after the results of what it gave."""
    feed = Feed(sender, window)
    reader = InputReader(source, feed.send)
    for _ in range(window):
        reader.ask(size)
    return _read(feed, reader, size, window, end)


class Feed:
    """Sends what is read, on the thread that reads.

    Args:
        first: so many orders are made by the ``map`` itself; a shutdown waits for these until
            somebody reads results, as the standard library's ``map`` does by itself.
    """

    def __init__(self, sender: Sender, first: int) -> None:
        self.sender = sender
        self.sent: queue.SimpleQueue[Sent] = queue.SimpleQueue()
        self._first = first
        self._closed = False
        sender.closing.expect_input(self)

    def send(self, found: InputPart) -> None:
        """Send the calls that were read, and tell the reader of the results."""
        pieces: list[Piece] = []
        ended, error = found.ended, found.error
        try:
            if found.items and not self._closed:
                pieces = self.sender.pieces(found.items, self)
        except BaseException as refusal:  # of a shutdown, or code of the user's that serialises
            ended, error = True, refusal
        self.sent.put(Sent(pieces, ended, error))
        self._first -= 1
        if ended or self._first == 0:
            self.begin()
        if self._closed:
            self._drop()

    def begin(self) -> None:
        """Somebody reads, or the first orders are done: a shutdown need not wait for more."""
        self.sender.closing.input_came(self)

    def close(self) -> None:
        """Nobody wants what comes. Said first, and what is there is dropped second; `send` hands
        in first and looks second."""
        self._closed = True
        self.begin()
        self._drop()

    def _drop(self) -> None:
        while not self.sent.empty():
            try:
                sent = self.sent.get_nowait()
            except queue.Empty:
                return
            for piece in sent.pieces:
                piece.cancel()


def _read(
    feed: Feed, reader: InputReader, size: int, window: int, end: float | None
) -> Iterator[Any]:
    pieces: deque[Piece] = deque()
    last: Sent | None = None
    feed.begin()
    try:
        while True:
            feed.sender.must_be_ours()
            while last is None and (sent := _next(feed, end, wait=not pieces)):
                reader.pending -= 1
                pieces.extend(sent.pieces)
                last = sent if sent.ended else None
            if not pieces:
                break
            found, rest = pieces[0].results(end)
            pieces.popleft()
            pieces.extendleft(reversed(rest))
            del rest
            while last is None and len(pieces) + reader.pending < window:
                reader.ask(size)
            yield from found
        if last is not None and last.error is not None:
            raise last.error
    finally:
        last = None
        reader.close()
        feed.close()
        for piece in pieces:
            piece.cancel()


def _next(feed: Feed, end: float | None, *, wait: bool) -> Sent | None:
    """What was sent next; None: nothing so far.

    Raises:
        TimeoutError: there is nothing at ``end``.
    """
    left = None if end is None else max(0.0, end - time.monotonic())
    try:
        return feed.sent.get(wait, left if wait else None)
    except queue.Empty:
        if wait:
            raise TimeoutError from None
        return None
