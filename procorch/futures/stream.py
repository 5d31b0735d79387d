"""The future of a request whose answer is read while it arrives.

Pieces of text arrive from the worker on the thread that acts as the monitor, and any other thread
reads them. Every few pieces the worker waits until the last of them is *confirmed*, so it does not
run far ahead of its reader. Each confirmation is given exactly once: when the piece is read; when
nobody will read it any more (the outcome is fixed, or the future was cancelled); or at once if the
caller has asked for the whole answer.

No lock is taken, because a reader may be interrupted by a signal handler or a finalizer that waits
for the thread on which the pieces arrive. Instead both sides write first and read second. The
thread that adds a piece first adds it, and then looks for waiting readers and whether to confirm at
once. A reader first registers, and then looks for pieces; so does a caller that asks for the whole
answer.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Self

from procorch.clock import REAL, Clock
from procorch.futures import socket_readers
from procorch.futures.fork_guard import must_be_ours
from procorch.futures.latch import Latch
from procorch.futures.lock_free import RunCallback
from procorch.futures.outcome import ReplyOutcome
from procorch.futures.reply import ReplyFuture
from procorch.futures.wakeups import wakeup
from procorch.messages import AgentResult

if TYPE_CHECKING:
    from procorch.agents.stream_events import StreamEvent

Confirm = Callable[[Any, int], None]


class StreamEvents:
    """The events of one answer, see `StreamReply.events`."""

    def __init__(self, reply: StreamReply) -> None:
        self._reply = reply

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamEvent:
        piece = self._reply.next_piece()
        return _event_of(piece)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        piece = await self._reply.next_piece_async()
        return _event_of(piece)


def _event_of(piece: str | StreamEvent) -> StreamEvent:
    if not isinstance(piece, str):
        return piece
    from procorch.agents.stream_events import TextEvent

    return TextEvent(piece)


class StreamReply(ReplyFuture):
    """A `ReplyFuture` and an iterator, sync and async, of the text of the answer as it arrives.

    If the request fails, its error is raised after all pieces that had arrived. ``result()`` is the
    whole answer; asking for it lets the worker finish without waiting for a reader. As a context
    manager it cancels the request at the end of the block if it is still running. There may be one
    reader at a time.

    Example:
        >>> def writer():
        ...     def handle(messages):
        ...         for word in ("one ", "two"):
        ...             current().emit(word)
        ...         return "one two"
        ...     return handle
        >>> with AgentOrchestrator() as orch:
        ...     orch.add_agent("writer", writer)
        ...     with orch.spawn("writer").stream("go") as pieces:
        ...         print("".join(pieces))
        one two
    """

    def __init__(
        self,
        request: int,
        agent: str,
        drop: Callable[[int], None],
        run_callback: RunCallback,
        clock: Clock = REAL,
        owner: int | None = None,
        *,
        confirm: Confirm,
    ) -> None:
        super().__init__(request, agent, drop, run_callback, clock, owner)
        self._confirm = confirm
        self._pieces: deque[tuple[bytes, int, bool]] = deque()
        self._unconfirmed: deque[tuple[object, int]] = deque()
        self._ended = False
        self._whole_answer = False
        self._waiting: deque[Callable[[], None]] = deque()

    # ---- from the worker

    def arrive(self, process: object, piece: bytes, number: int, *, event: bool = False) -> None:
        """Add a piece of the answer.

        Args:
            process: the worker it came from.
            number: what has to be confirmed when the piece was read; 0: nothing.
            event: it is an event, not text.
        """
        if not self._ended:
            self._pieces.append((piece, number, event))
        if number:
            self._unconfirmed.append((process, number))
        if self._ended or self._whole_answer:
            self._confirm_all()
        self._wake()

    def settle(self, outcome: ReplyOutcome) -> None:
        """See `ReplyFuture`."""
        super().settle(outcome)
        self._end()

    def cancel(self) -> bool:
        """See `ReplyFuture`."""
        if not super().cancel():
            return False
        self._end()
        return True

    def _end(self) -> None:
        self._ended = True
        self._confirm_all()
        self._wake()

    def _confirm_all(self) -> None:
        self._confirm_to(None)

    def _confirm_to(self, last: int | None) -> None:
        """Give the confirmations up to number ``last``; one thread takes each from the queue."""
        with contextlib.suppress(IndexError):
            while True:
                process, number = self._unconfirmed.popleft()
                self._confirm(process, number)
                if number == last:
                    return

    def _wake(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._waiting.popleft()()

    # ---- the whole answer

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """See `ReplyFuture`."""
        self._ask_for_whole_answer()
        return super().exception(timeout)

    def __await__(self) -> Generator[Any, None, AgentResult]:
        self._ask_for_whole_answer()
        return (yield from super().__await__())

    def _ask_for_whole_answer(self) -> None:
        must_be_ours(self._owner)
        self._whole_answer = True
        self._confirm_all()

    # ---- piece by piece

    def events(self) -> StreamEvents:
        """What happens while the answer is made, in place of its text alone.

        Returns:
            An iterator, sync and async, of events: the pieces of text, reasoning, calls of tools
            and their results, and the usage of each turn. Their `as_dict()` is for JSON.
        """
        return StreamEvents(self)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        while not isinstance(piece := self.next_piece(), str):
            pass
        return piece

    def next_piece(self) -> str | StreamEvent:
        """Wait for the next piece of text or event.

        Raises:
            StopIteration: there is none any more.
            AgentError: the request has failed.
        """
        while True:
            # Read before the pieces: all pieces were added before the end.
            arrived, ended = Latch(), self._ended
            piece = self._take(arrived.open)
            if piece is not None:
                return piece
            if ended:
                break
            socket_readers.give_back()
            self._clock.attend(arrived.is_open, None)
            arrived.wait()
        self._raise()
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while not isinstance(piece := await self.next_piece_async(), str):
            pass
        return piece

    async def next_piece_async(self) -> str | StreamEvent:
        """Like `next_piece`, without blocking the event loop; its end is a StopAsyncIteration."""
        import asyncio

        loop = asyncio.get_running_loop()
        while True:
            arrived, wake = wakeup(loop)
            ended = self._ended
            piece = self._take(wake)
            if piece is not None:
                return piece
            if ended:
                break
            try:
                await arrived
            except asyncio.CancelledError:
                self.cancel()
                raise
        self._raise()
        raise StopAsyncIteration

    def _take(self, wake: Callable[[], None]) -> str | StreamEvent | None:
        """The next piece; None: there is none yet, and ``wake`` is called when that changes."""
        must_be_ours(self._owner)
        if not self._pieces:
            self._waiting.append(wake)
            if not self._pieces:
                if self._ended:
                    wake()
                return None
        piece, number, event = self._pieces.popleft()
        if number:
            self._confirm_to(number)
        if not event:
            return piece.decode("utf-8", "replace")
        from procorch.agents.stream_events import loaded  # few streams have events

        return loaded(piece)

    def _raise(self) -> None:
        error = self.exception()
        if error is not None:
            try:
                raise error
            finally:
                del error  # as in `ReplyFuture.result`

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None or self.ours:  # else the SystemExit of a fork goes on undisturbed
            self.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None or self.ours:
            self.cancel()
