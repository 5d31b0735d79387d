"""The future of a request whose answer is read while it comes.

Pieces of text arrive from the worker on the thread that has the turn, and are read by any other.
The worker does not run ahead: every few pieces it waits until the last of them has been read, which
is *confirmed* to it. Each such confirmation is owed exactly once: it is given when the piece is
read, when nobody will read it any more (the outcome is fixed, or the future was cancelled), or at
once when the caller has asked for the whole answer.

No lock is taken: a reader may be interrupted by a signal handler or a finalizer that waits for the
thread which brings the pieces. Whoever adds something does so first and looks second whether
anybody waits for it, or whether it is to be confirmed at once; who waits, and who asks for the
whole answer, says so first and looks second.
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
from procorch.futures.reply import Outcome, ReplyFuture, Run
from procorch.messages import AgentResult

if TYPE_CHECKING:
    import asyncio

Confirm = Callable[[Any, int], None]


class StreamReply(ReplyFuture):
    """A `ReplyFuture` and an iterator, sync and async, of the text of the answer as it comes.

    Where the text ends, so does the request: what it failed with is raised there, after all that
    had arrived. ``result()`` is the whole answer; asking for it lets the rest come without being
    read. As a context manager it cancels what is still under way at the end of the block. One
    reader at a time.
    """

    def __init__(
        self,
        request: int,
        agent: str,
        drop: Callable[[int], None],
        run: Run,
        clock: Clock = REAL,
        *,
        confirm: Confirm,
    ) -> None:
        super().__init__(request, agent, drop, run, clock)
        self._confirm = confirm
        self._pieces: deque[tuple[bytes, int]] = deque()
        self._owed: deque[tuple[object, int]] = deque()
        self._over = False
        self._free = False
        self._readers: deque[Callable[[], None]] = deque()

    # ---- from the worker

    def arrive(self, process: object, text: bytes, number: int) -> None:
        """A piece has come; ``number`` is what has to be confirmed when it was read, 0: nothing."""
        if not self._over:
            self._pieces.append((text, number))
        if number:
            self._owed.append((process, number))
        if self._over or self._free:
            self._confirm_all()
        self._wake()

    def settle(self, outcome: Outcome) -> None:
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
        self._over = True
        self._confirm_all()
        self._wake()

    def _confirm_all(self) -> None:
        self._confirm_to(None)

    def _confirm_to(self, last: int | None) -> None:
        """Give what is owed, up to number ``last``: each is taken out by exactly one thread."""
        with contextlib.suppress(IndexError):
            while True:
                process, number = self._owed.popleft()
                self._confirm(process, number)
                if number == last:
                    return

    def _wake(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._readers.popleft()()

    # ---- the whole answer

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """See `ReplyFuture`."""
        self._let_come()
        return super().exception(timeout)

    def __await__(self) -> Generator[Any, None, AgentResult]:
        self._let_come()
        return (yield from super().__await__())

    def _let_come(self) -> None:
        must_be_ours(self._owner)
        self._free = True
        self._confirm_all()

    # ---- piece by piece

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        while True:
            came, over = Latch(), self._over  # looked at before the pieces, which come before it
            piece = self._take(came.open)
            if piece is not None:
                return piece
            if over:
                break
            socket_readers.give_back()
            self._clock.attend(came.is_open, None)
            came.wait()
        self._raise()
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        import asyncio

        loop = asyncio.get_running_loop()
        while True:
            came: asyncio.Future[None] = loop.create_future()
            over = self._over
            piece = self._take(_waker(loop, came))
            if piece is not None:
                return piece
            if over:
                break
            try:
                await came
            except asyncio.CancelledError:
                self.cancel()
                raise
        self._raise()
        raise StopAsyncIteration

    def _take(self, wake: Callable[[], None]) -> str | None:
        """The next piece; None: there is none, and ``wake`` is called when that changes."""
        must_be_ours(self._owner)
        if not self._pieces:
            self._readers.append(wake)
            if not self._pieces:
                if self._over:
                    wake()
                return None
        text, number = self._pieces.popleft()
        if number:
            self._confirm_to(number)
        return text.decode("utf-8", "replace")

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
        if kind is None or self.ours:  # else a fork's SystemExit goes on
            self.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is None or self.ours:
            self.cancel()


def _waker(loop: asyncio.AbstractEventLoop, came: asyncio.Future[None]) -> Callable[[], None]:
    def finish() -> None:
        if not came.done():
            came.set_result(None)

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(finish)

    return wake
