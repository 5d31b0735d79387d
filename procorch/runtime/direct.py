"""A caller that waits writes its request and reads its reply itself (docs/decisions/007).

Through the monitor a request costs two changes of threads, which is most of its time. A caller that
is going to wait anyway takes the ownership of the loop (`Loop.ownership`, the right to act as the
monitor), hands its request to the machine and has performed what that decides: for an idle agent,
to write it. Then it detaches the worker's socket from the loop and reads that itself, as the owner
each time, until its outcome is there. Nothing is decided differently for it: the machine sees the
same events.

What endangers the ownership of a thread of the user's, and what is done about it:

* *A signal handler that raises* (Ctrl-C) in the main thread, in the middle of a step, would leave
  the machine in pieces. Handlers wait until this thread gives the ownership up, some
  microseconds: `_SignalDeferral`.
* *A stack that is nearly full* would end a step by `RecursionError`: `_has_room` looks first.
* *A signal handler that waits for the same worker* while this thread waits for its socket: it gives
  the socket back to the monitor first (`socket_readers`).
* *An outcome fixed by another thread* (a death, a deadline): it wakes the caller, which waits for
  an eventfd of its own as well.
"""

from __future__ import annotations

import os
import select
import sys
import threading

# The functions of `signal` take 2 us each, these 0.1: they make no enumerations of the numbers.
from _signal import NSIG, getsignal, signal  # type: ignore[import-not-found]
from collections import deque
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, TypeAlias, TypeVar

from procorch.futures import socket_readers
from procorch.futures.reply import Reply
from procorch.launch.base import WorkerProcess
from procorch.runtime.loop import Loop
from procorch.runtime.ports import StepPort
from procorch.supervision import events as ev
from procorch.supervision.request import Request

T = TypeVar("T")

Handler: TypeAlias = Callable[[int, FrameType | None], Any]

_SIGNALS = range(1, NSIG)
_MAIN = threading.main_thread().ident
_FRAMES = 80
"""What a turn may need of the stack."""


class Direct:
    """Serves callers that wait.

    Args:
        loop: its ``ownership`` is the right to act as the monitor.
        monitor: gets the events.

    Attributes:
        allowed: there is a monitor, and workers whose sockets can be read.
    """

    def __init__(self, loop: Loop[Any], monitor: StepPort) -> None:
        self._loop = loop
        self._ownership = loop.ownership
        self._monitor = monitor
        self._wakers: deque[_Waker] = deque()
        self._closed = False
        self.allowed: bool = False

    def call(self, request: Request, reply: Reply[Any]) -> None:
        """Submit ``request`` and read until it has its outcome, or the monitor has to go on.

        Where that cannot be, it is not submitted.
        """
        if not self.allowed or not _has_room(_FRAMES):
            return
        if socket_readers.holders:
            socket_readers.give_back()
        deferral, cargo = _SignalDeferral(), request.cargo
        waker = self._wakers.pop() if self._wakers else _Waker()
        waker.rung, reply.on_end = False, waker.wake
        me = threading.get_ident()
        process: WorkerProcess | None = None  # whose socket this thread reads
        submitted, fd = False, -1
        try:
            while not submitted or process is not None:
                if process is not None and not waker.rung:
                    waker.wait(fd)
                with deferral:
                    # Only the first time somebody else may act in place of this thread.
                    if not self._ownership.acquire(blocking=submitted):
                        return
                    try:
                        if self._loop.posted:
                            self._monitor.take_posted()
                        if not submitted:
                            submitted = True
                            self._monitor.step(ev.Submit(request))
                            started: WorkerProcess | None = cargo.process
                            if started is not None and (fd := started.detach_reader()) >= 0:
                                process, waker.thread = started, me
                                back = partial(self._return, started, waker)
                                socket_readers.holders[me] = back
                        elif process is not None and not self._read(process, waker):
                            process = None
                    except BaseException as error:
                        self._monitor.fail(error)
                        raise
                    finally:
                        self._loop.end_turn()
        finally:
            reply.on_end = None
            socket_readers.holders.pop(me, None)
            if process is not None:  # It is left by an interrupt (Ctrl-C).
                self._return(process, waker)
            self._wakers.append(waker)
            if self._closed:
                self.close()

    @staticmethod
    def _read(process: WorkerProcess, waker: _Waker) -> bool:
        """Read what has come; whether this thread has to go on reading."""
        detached = process.read()
        if waker.rung:
            process.attach_reader()
            return False
        return detached

    def _return(self, process: WorkerProcess, waker: _Waker) -> None:
        """Have the monitor read again what this thread has read, and wake the thread by the end of
        its future."""
        waker.thread = 0
        with _SignalDeferral():
            self._ownership.acquire()
            try:
                self._monitor.take_posted()
                process.attach_reader()
            except BaseException as error:
                self._monitor.fail(error)
                raise
            finally:
                self._loop.end_turn()

    def close(self) -> None:
        """All outcomes are fixed; for the thread that owns the loop."""
        self.allowed, self._closed = False, True
        while self._wakers:
            self._wakers.pop().close()


class _Waker:
    """Wakes the thread that has it out of its waiting.

    Its descriptor is closed with the last reference to it at the latest: the thread that takes one
    may be interrupted anywhere. One call of C makes and keeps it, one closes it.

    Attributes:
        thread: which one that is.
        rung: it was woken, by itself too.
    """

    def __init__(self) -> None:
        self._fds: list[int] = []
        self._fds.extend(map(os.eventfd, (0,), (os.EFD_CLOEXEC | os.EFD_NONBLOCK,)))
        self._fd = self._fds[0]
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self.thread = 0
        self.rung = False

    def wake(self) -> None:
        """Wake it; it does not wake itself."""
        self.rung = True
        if threading.get_ident() != self.thread:
            os.eventfd_write(self._fd, 1)

    def wait(self, fd: int) -> None:
        """Wait for something to read in ``fd``, or to be woken, perhaps by an earlier request."""
        self._poll.register(fd, select.POLLIN)
        try:
            for ready, _ in self._poll.poll():
                if ready == self._fd:
                    os.eventfd_read(ready)
        finally:
            self._poll.unregister(fd)

    def close(self) -> None:
        """Nobody will be woken any more."""
        fds, self._fds = self._fds, []
        deque(map(os.close, fds), maxlen=0)

    def __del__(self) -> None:
        self.close()


class _SignalDeferral:
    """While it is entered, handlers of signals are put off; they are called when it is left.

    Python calls handlers in the main thread only.
    """

    def __init__(self) -> None:
        self._handlers = _handlers() if threading.get_ident() == _MAIN else {}
        self._came: list[tuple[int, FrameType | None]] = []
        self._entered = False

    def __enter__(self) -> _SignalDeferral:
        self._entered = True
        try:
            for signum in self._handlers:
                signal(signum, self._note)
        except BaseException:  # of a handler that was not yet put off
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._entered = False
        for signum, handler in self._handlers.items():
            signal(signum, handler)
        if self._came:
            self._handle()

    def _handle(self) -> None:
        if self._came:
            signum, frame = self._came.pop(0)
            try:
                self._handlers[signum](signum, frame)
            finally:
                self._handle()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._entered:
            self._came.append((signum, frame))
        else:  # Some handler has raised while this one was being put back.
            self._handlers[signum](signum, frame)


_known: tuple[tuple[object, ...], dict[int, Handler]] = ((), {})


def _handlers() -> dict[int, Handler]:
    """The handlers that are written in Python, by signal."""
    global _known
    now = tuple(map(getsignal, _SIGNALS))
    if now != _known[0]:  # as a rule it is what it was
        _known = now, {n: each for n, each in zip(_SIGNALS, now, strict=True) if callable(each)}
    return _known[1]


def _has_room(frames: int) -> bool:
    """Whether the stack takes that many more frames."""
    try:
        sys._getframe(sys.getrecursionlimit() - frames)
    except ValueError:  # It is not that deep.
        return True
    return False
