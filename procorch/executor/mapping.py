"""The calls of one ``map``: sent now, done whether or not anybody reads, read in their order.

Calls travel in pieces of ``chunksize``. A piece ends with its first failure (``worker.chunk``), and
what follows the culprit is sent again as further pieces in its place. Arguments were serialised by
the caller of ``map`` and go again as they are; results are decoded by the reader. So sending again
runs no code of the user's, and a thread of its own can do it where nobody reads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from procorch.api.handle import Broken, ChunkReply, OrchestratedHandle, Several
from procorch.errors import (
    Aborted,
    AgentCrashed,
    AgentError,
    AgentStopped,
    MessageTooLarge,
    SerializationError,
)
from procorch.executor.call import sealed_function
from procorch.executor.closing import Closing
from procorch.executor.errors import translated
from procorch.pool.blame import blamed_item

NONE = Several(True, [])
"""No calls at all."""


class Sender:
    """Sends the calls of one function.

    Args:
        several: a call is a tuple of arguments; else it is the only argument.

    Raises:
        SerializationError: the function cannot be serialised.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        queue: OrchestratedHandle,
        closing: Closing,
        *,
        several: bool,
    ) -> None:
        self._seal = partial(
            Several.of_rows if several else Several.of,
            what="arguments",
            prelude=sealed_function(function),
        )
        self._queue = queue
        self.closing = closing

    def must_be_ours(self) -> None:
        """See `OrchestratedHandle.must_be_ours`."""
        self._queue.must_be_ours()

    def pieces(self, calls: list[Any], feed: object = None) -> list[Piece]:
        """Send calls as one piece; as several where one of them cannot be sent.

        Args:
            feed: what has read them, see `Closing.accepts`.

        Raises:
            RuntimeError: the executor has been shut down.
        """
        sealed = self._sealed(calls)
        if not self.closing.accepts(feed):
            raise RuntimeError("cannot schedule new futures after shutdown")
        sent: list[Piece] = []
        for part in sealed:
            sent += self.again(part) if isinstance(part, Several) else [Piece(self, error=part)]
        return sent

    def _sealed(self, calls: list[Any]) -> list[Several | AgentError]:
        """The calls, serialised; an error in place of one that cannot be."""
        try:
            return [self._seal(calls)]
        except SerializationError as error:
            if len(calls) == 1:
                return [error]
        half = len(calls) // 2
        return self._sealed(calls[:half]) + self._sealed(calls[half:])

    def again(self, calls: Several, deaths: int = 0) -> list[Piece]:
        """Send serialised calls."""
        count = len(calls.entries)
        if not count:
            return []
        try:
            reply = self._queue.deliver_chunk(calls, whole=True)
        except MessageTooLarge as error:
            if count == 1:
                return [Piece(self, error=error)]
            half = count // 2
            return self.again(calls.part(0, half), deaths) + self.again(calls.part(half), deaths)
        piece = Piece(self, calls, reply, deaths=deaths)
        self.closing.expect(piece)
        reply.notify(piece.settled)
        return [piece]


class Piece:
    """Calls that travel together, or a failure that stands in for one.

    Args:
        calls: as they were sent.
        reply: what comes back.
        error: the failure where nothing does; ``failed``: the reply that has it.
        deaths: workers that have died with it before any of its calls began.
    """

    __slots__ = ("_calls", "_deaths", "_error", "_failed", "_lock", "_rest", "_sender", "reply")

    def __init__(
        self,
        sender: Sender,
        calls: Several = NONE,
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
        self._rest: list[Piece] | None = None

    def cancel(self) -> None:
        """Nobody wants it any more."""
        if self.reply is not None and self.reply.ours:  # a fork may lose the iteration
            self.reply.cancel()

    def settled(self) -> None:
        """Its outcome is there; runs on the monitor thread as a rule, and does not block."""
        assert self.reply is not None
        alone = len(self._calls.entries) == 1 and not isinstance(self.reply.failure, AgentCrashed)
        if self.reply.failure is None or alone:
            self._sender.closing.came(self)
            return
        try:
            threading.Thread(target=self.rest, name="procorch-map", daemon=True).start()
        except RuntimeError:  # The interpreter exits.
            self.rest()

    def rest(self) -> list[Piece]:
        """What has to be done after a failure, all of it behind the results that came before; sent
        once, by the reader or without one."""
        with self._lock:
            if self._rest is None:
                try:
                    self._rest = self._send_rest()
                finally:
                    self._sender.closing.came(self)
            return self._rest

    def _send_rest(self) -> list[Piece]:
        reply, calls = self.reply, self._calls
        assert reply is not None
        error = reply.failure
        if error is None:
            return []
        failed = [Piece(self._sender, failed=reply)]
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

    def results(self, end: float | None) -> tuple[Iterable[Any], list[Piece]]:
        """Its results, and the pieces that follow in its place.

        Raises:
            TimeoutError: it is not there at ``end``; it may be asked for again.
            BaseException: the failure that this piece stands for.
        """
        if self._error is not None:
            raise translated(self._error)
        if self._failed is not None:
            error = self._failed.exception()
            assert error is not None
            raise translated(error)
        assert self.reply is not None
        self.reply.await_outcome(None if end is None else end - time.monotonic())
        answer = self.reply.answer()
        found = answer.outputs if answer.simple else _one_by_one(answer.outputs)
        return found, [] if answer.error is None else self.rest()


def results(
    calls: Iterable[Any],
    sender: Sender,
    size: int,
    window: int | None,
    end: float | None,
) -> Iterator[Any]:
    """Send calls now, and return a generator of what they come to.

    Leaving the generator after it was begun cancels what is under way; losing one that was not
    begun cancels nothing, as in the standard library.

    Args:
        size: calls of a piece.
        window: pieces that may be under way or wait to be read; None: all.
        end: monotonic seconds; waiting for longer is a ``TimeoutError``.
    """
    source = iter(calls)
    pieces: deque[Piece] = deque()

    def fill() -> None:
        while window is None or len(pieces) < window:
            if not (chunk := list(islice(source, size))):
                return
            pieces.extend(sender.pieces(chunk))

    def read() -> Iterator[Any]:
        try:
            while pieces:
                found, rest = pieces[0].results(end)
                pieces.popleft()
                pieces.extendleft(reversed(rest))
                del rest
                if not sender.closing.begun:
                    fill()
                yield from found
                if not pieces:
                    fill()  # refused after a shutdown if there is anything left to send
        finally:
            for piece in pieces:
                piece.cancel()

    try:
        fill()
    except BaseException:  # of the input, or Ctrl-C
        for piece in pieces:
            piece.cancel()
        raise
    return read()


def failing(error: AgentError) -> Iterator[Any]:
    """What a ``map`` gives whose function cannot be sent."""
    raise translated(error)
    yield


def _one_by_one(outputs: list[Any]) -> Iterator[Any]:
    """Results, none of which is kept here when it has been given."""
    outputs.reverse()
    while outputs:
        yield _given(outputs.pop())


def _given(output: Any) -> Any:
    if type(output) is Broken:
        raise translated(output.error)
    return output
