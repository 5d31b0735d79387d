"""The worker's connection to its parent: requests come in, and questions to other agents go out.

The main thread reads the socket between requests. During a request the threads that wait for
answers read it: the main thread, or threads that the agent has started. One thread reads, and the
others wait for it. It stores each frame for the thread that needs it.

A worker that runs several requests at once reads the socket in its event loop (`serve_loop`), and
coroutines wait there for their answers. Threads that wait read it as well.

Each question gets one answer. If a request is cancelled while it waits for an answer, its question
is forgotten: the other agent is told, and the answer, which still comes, is dropped.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from procorch.wire import headers
from procorch.wire.channel import Channel
from procorch.wire.frame import Frame, Kind
from procorch.wire.payload import Parts
from procorch.worker.fork_guard import leave_if_forked

if TYPE_CHECKING:
    import asyncio

_ANSWERS = (Kind.ANSWER, Kind.ANSWER_ERROR)


def wait_for_frame(source: Channel | int) -> None:
    """Wait until there is data. An interrupt may raise here, and in no function that is called."""
    poll = select.poll()  # `select.select` refuses descriptors from 1024 on
    poll.register(source, select.POLLIN)
    try:
        poll.poll()
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # The agent has set RLIMIT_NOFILE to 0, below the number of descriptors polled.
        select.select([source], [], [])


def _is_readable(source: Channel) -> bool:
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return bool(poll.poll(0))


class ParentLink:
    """Frames to and from the parent; safe to use from any thread of the worker.

    Args:
        generation: sent with each frame.
    """

    _loop: asyncio.AbstractEventLoop | None = None  # that of `serve_loop`
    _loop_reads = False

    def __init__(self, channel: Channel, generation: int) -> None:
        self._channel = channel
        self._generation = generation
        self._writing = threading.Lock()
        self._reading = threading.Lock()  # held by the thread that reads
        self._changed = threading.Condition()
        self._waiting = 0  # threads that wait for the reader, or are about to
        self._main_waits = False
        self._news = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._answers: dict[int, Frame] = {}
        self._forgotten: set[int] = set()
        self._rest: deque[Frame] = deque()
        self._numbers = itertools.count(1)
        self._closed = False
        self._take: Callable[[Frame | None], None]
        self._awaited: dict[int, asyncio.Future[Frame | None]] = {}

    def send(self, kind: Kind, number: int, head: bytes, body: Parts = ()) -> None:
        """Send a frame. If the parent has ended, this process exits."""
        leave_if_forked()
        try:
            with self._writing:
                self._channel.send(kind, self._generation, number, head, body)
        except OSError:
            os._exit(1)

    @property
    def has_frame(self) -> bool:
        """Whether a frame has come that no thread has taken."""
        return bool(self._rest) or self._channel.has_frame

    def next_request(self) -> Frame | None:
        """What the parent wants next; None when it is gone. For the main thread, between requests:
        it is waited for in the read itself, out of which no interrupt comes."""
        leave_if_forked()
        if not self._reading.acquire(blocking=False):
            return self._receive(None)
        frame = None
        try:
            if not self._rest:
                frame = self._channel.receive_one()
        except BaseException:
            self._keep(None)
            raise
        if frame is None or frame.kind in _ANSWERS:
            self._keep(frame)
            return self._receive(None)
        # The right to read is given back first and those who wait are looked at second; they make
        # themselves known first and try to read second.
        self._reading.release()
        if self._waiting:
            self._wake_waiting_threads()
        return frame

    def serve_loop(
        self, loop: asyncio.AbstractEventLoop, take: Callable[[Frame | None], None]
    ) -> None:
        """Read the socket in an event loop from now on.

        Args:
            take: called in the loop with each frame that is not an answer; None: the parent has
                ended.
        """
        self._take, self._loop = take, loop
        loop.add_reader(self._channel, self._read_in_loop)
        loop.call_soon(self._read_in_loop)

    def leave_loop(self) -> None:
        """End `serve_loop`."""
        if self._loop is not None:
            self._loop.remove_reader(self._channel)

    def _read_in_loop(self) -> None:
        """Read what has come. A thread may have read it, or read now: it tells the loop then."""
        self._loop_reads = True
        while self._reading.acquire(blocking=False):
            if not (self._channel.has_frame or _is_readable(self._channel)):
                self._reading.release()
                break
            frame = None
            try:
                frame = self._channel.receive_one()
            finally:
                self._keep(frame)
            if self._closed:
                break
        self._loop_reads = False
        if self._waiting:
            self._wake_waiting_threads()  # they may have tried to read meanwhile
        self._hand_over()

    def _hand_over(self) -> None:
        """In the loop: give the frames that have come to those that they are for."""
        while self._rest:
            self._take(self._rest.popleft())
        if self._closed:
            self.leave_loop()
            for future in self._awaited.values():
                if not future.done():
                    future.set_result(None)
            self._awaited.clear()
            self._take(None)

    @property
    def is_in_loop(self) -> bool:
        """Whether `serve_loop` was called, so that `answer_async` can be."""
        return self._loop is not None

    async def answer_async(self, number: int) -> Frame | None:
        """See `answer`. If the wait is cancelled, the answer is dropped when it comes."""
        assert self._loop is not None
        with self._changed:
            if number in self._answers:
                return self._answers.pop(number)
            if self._closed:
                return None
            future: asyncio.Future[Frame | None] = self._loop.create_future()
            self._awaited[number] = future
        try:
            return await future
        except BaseException:
            with self._changed:
                if self._awaited.pop(number, None) is not None:
                    self._forgotten.add(number)
            raise

    def await_answer(self, number: int) -> Frame | None:
        """Wait for the answer to a question, and cancel the question if the wait is interrupted.

        Returns:
            The answer; None: the parent has ended.
        """
        try:
            return self.answer(number)
        except BaseException:
            with self._changed:
                if self._answers.pop(number, None) is None:
                    self._forgotten.add(number)
            self.forget(number)
            raise

    def piece(self, request: int, text: bytes, *, confirm: bool, event: bool = False) -> int:
        """Send a piece of an answer.

        Args:
            confirm: the parent has to confirm that the piece was read.
            event: it is an event of the stream, not text.

        Returns:
            The number for `confirmed` or `answer`, one of which must be called; 0 without
            ``confirm``.
        """
        number = next(self._numbers) if confirm else 0
        self.send(Kind.DELTA, request, headers.encode(headers.DeltaHead(number, event)), [text])
        return number

    def confirmed(self, number: int) -> None:
        """Wait until the caller has read a piece, or reads no more."""
        try:
            self.answer(number)
        except BaseException:
            with self._changed:
                if self._answers.pop(number, None) is None:
                    self._forgotten.add(number)
            raise

    def put(self, head: bytes, body: Parts = (), kind: Kind = Kind.ASK) -> int:
        """Send a question, or one of another ``kind``.

        Returns:
            Its number, for `answer` or `await_answer`, one of which must be called, and `forget`.
        """
        number = next(self._numbers)
        self.send(kind, number, head, body)
        return number

    def answer(self, number: int) -> Frame | None:
        """Wait for the answer to a question; None: the parent has ended."""
        return self._receive(number)

    def forget(self, number: int) -> None:
        """Cancel a question; the cancellation is its answer."""
        self.send(Kind.FORGET, number, b"")

    def close(self) -> None:
        """Stop reading; threads that wait for answers get None."""
        leave_if_forked()
        self._channel.stop_reading()

    def _receive(self, answer: int | None) -> Frame | None:
        """Wait for the answer with that number; None: for a frame that is not an answer."""
        leave_if_forked()
        while True:
            with self._changed:
                while True:
                    if answer is not None and answer in self._answers:
                        return self._answers.pop(answer)
                    if answer is None and self._rest:
                        return self._rest.popleft()
                    if self._closed:
                        return None
                    self._waiting += 1
                    try:
                        if self._reading.acquire(blocking=False):
                            break
                        self._wait_for_the_reader()
                    finally:
                        self._waiting -= 1
            frame = None
            try:
                if not self._channel.has_frame:
                    wait_for_frame(self._channel)
                frame = self._channel.receive_one()
            finally:
                # Also after an interrupt: the next thread reads on.
                self._keep(frame)

    def _keep(self, frame: Frame | None) -> None:
        """Store a frame for the thread that needs it, and let the next thread read."""
        with self._changed:
            if frame is None:
                self._closed = self._channel.eof
            elif frame.kind not in _ANSWERS:
                self._rest.append(frame)
            elif frame.request in self._forgotten:
                self._forgotten.remove(frame.request)
            elif frame.request in self._awaited:
                self._settle_soon(self._awaited.pop(frame.request), frame)
            else:
                self._answers[frame.request] = frame
            self._reading.release()
            self._wake_waiting_threads()

    def _settle_soon(self, future: asyncio.Future[Frame | None], frame: Frame) -> None:
        def settle() -> None:
            if not future.done():
                future.set_result(frame)

        assert self._loop is not None
        self._loop.call_soon_threadsafe(settle)

    def _wake_waiting_threads(self) -> None:
        news = self._rest or self._closed or self._channel.has_frame
        if self._loop is not None and not self._loop_reads and news:
            with contextlib.suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(self._read_in_loop)
        with self._changed:
            self._changed.notify_all()
            if self._main_waits:
                os.eventfd_write(self._news, 1)

    def _wait_for_the_reader(self) -> None:
        """Wait until the reader has read a frame; called with the lock held.

        The main thread releases the lock and waits where an interrupt may raise: an exception in a
        wait for a condition could leave its lock in a wrong state.
        """
        if threading.current_thread() is not threading.main_thread():
            self._changed.wait()
            return
        self._main_waits = True
        self._changed.release()
        try:
            wait_for_frame(self._news)
        finally:
            self._changed.acquire()
            self._main_waits = False
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._news)
