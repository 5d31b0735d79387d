"""The future of a request whose answer is read while it comes.

Pieces of text arrive from the worker on the thread that has the turn, and are read by any other.
The worker does not run ahead: every few pieces it waits until the last of them has been read, which
is *confirmed* to it. Each such confirmation is owed exactly once: it is given when the piece is
read, when nobody will read it any more (the outcome is fixed, or the future was cancelled), or at
once when the caller has asked for the whole answer.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Self

from procorch.launch.base import WorkerProcess
from procorch.messages import AgentResult
from procorch.runtime.clock import REAL, Clock
from procorch.runtime.ours import must_be_ours
from procorch.runtime.reply import Outcome, ReplyFuture, Run

if TYPE_CHECKING:
    import asyncio

Confirm = Callable[[WorkerProcess, int], None]


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
        self._guard = threading.Lock()
        self._owed: tuple[WorkerProcess, int] | None = None
        self._over = False
        self._free = False
        self._waiter: Callable[[], None] | None = None

    # ---- from the worker

    def arrive(self, process: WorkerProcess, text: bytes, number: int) -> None:
        """A piece has come; ``number`` is what has to be confirmed when it was read, 0: nothing."""
        with self._guard:
            if not self._over:
                self._pieces.append((text, number))
            if number:
                self._owed = process, number
            owed = self._due(self._over or self._free)
            waiter, self._waiter = self._waiter, None
        self._tell(owed, waiter)

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
        with self._guard:
            self._over = True
            owed = self._due(True)
            waiter, self._waiter = self._waiter, None
        self._tell(owed, waiter)

    def _due(self, now: bool) -> tuple[WorkerProcess, int] | None:
        if not now:
            return None
        owed, self._owed = self._owed, None
        return owed

    def _tell(
        self, owed: tuple[WorkerProcess, int] | None, waiter: Callable[[], None] | None
    ) -> None:
        if owed is not None:
            self._confirm(*owed)
        if waiter is not None:
            waiter()

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
        with self._guard:
            self._free = True
            owed = self._due(True)
        self._tell(owed, None)

    # ---- piece by piece

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        while True:
            came = threading.Event()
            piece = self._take(came.set)
            if piece is not None:
                return piece
            if self._over:
                break
            self._clock.attend(came.is_set, None)
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
            piece = self._take(_waker(loop, came))
            if piece is not None:
                return piece
            if self._over:
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
        with self._guard:
            if not self._pieces:
                self._waiter = None if self._over else wake
                return None
            text, number = self._pieces.popleft()
            owed = self._due(self._owed is not None and self._owed[1] == number)
        self._tell(owed, None)
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
