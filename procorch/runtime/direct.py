"""A caller that waits writes its request and reads its reply itself (docs/decisions/007).

Through the monitor a request costs two changes of threads, which is most of its time. A caller that
waits for the outcome anyway saves them in these steps:

1. It takes the lock `Loop.ownership`. The thread that holds this lock may act as the monitor.
2. It hands its request to the machine and performs the actions: an idle agent gets the request.
3. It detaches the worker's socket from the loop and reads the socket itself, until the outcome is
   there. It takes the lock again for each read.

The machine sees the same events in both cases, so it decides the same.

Dangers for a user's thread that owns the loop, and what is done about each:

* *A signal handler that raises* (Ctrl-C) in the main thread could stop a step halfway and leave the
  machine inconsistent. `_SignalDeferral` runs handlers after the step, some microseconds later.
* *A stack that is nearly full* would end a step by `RecursionError`. `_has_room` checks it first.
* *A signal handler waits for the same worker* while this thread waits for its socket. The handler's
  call gives the socket back to the monitor first (`socket_readers`).
* *Another thread fixes the outcome* (a death, a deadline). It wakes the caller, which also waits
  for an eventfd of its own.
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
from typing import Any, TypeAlias

from procorch.futures import socket_readers
from procorch.futures.reply import Reply
from procorch.launch.base import WorkerProcess
from procorch.runtime.loop import Loop
from procorch.runtime.ports import StepPort
from procorch.supervision import events as ev
from procorch.supervision.request import Request

Handler: TypeAlias = Callable[[int, FrameType | None], Any]

_SIGNALS = range(1, NSIG)
_MAIN = threading.main_thread().ident
_FRAMES = 80
"""Stack frames that a step may need."""


class Direct:
    """Serves callers that wait.

    Args:
        loop: the loop of the monitor.
        monitor: handles the events.

    Attributes:
        allowed: whether the monitor runs, and the launcher's workers have sockets to read.
    """

    def __init__(self, loop: Loop[Any], monitor: StepPort) -> None:
        self._loop = loop
        self._ownership = loop.ownership
        self._monitor = monitor
        self._wakers: deque[_Waker] = deque()
        self._closed = False
        self.allowed: bool = False

    def call(self, request: Request, reply: Reply[Any]) -> None:
        """Submit ``request`` and read until it has its outcome, or until the monitor takes over.

        If another thread owns the loop, or this one has no stack left, it is not submitted.
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
                    # Before the submission another owner may act instead of this thread.
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
                        self._loop.release_ownership()
        finally:
            reply.on_end = None
            socket_readers.holders.pop(me, None)
            if process is not None:  # An exception, such as Ctrl-C, has ended the loop above.
                self._return(process, waker)
            self._wakers.append(waker)
            if self._closed:
                self.close()

    @staticmethod
    def _read(process: WorkerProcess, waker: _Waker) -> bool:
        """Read the socket once; returns whether this thread has to go on reading."""
        detached = process.read()
        if waker.rung:
            process.attach_reader()
            return False
        return detached

    def _return(self, process: WorkerProcess, waker: _Waker) -> None:
        """Attach the socket to the loop again. The end of the future wakes the thread then."""
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
                self._loop.release_ownership()

    def close(self) -> None:
        """Close the wakers: all outcomes are fixed. Only the owner of the loop calls it."""
        self.allowed, self._closed = False, True
        while self._wakers:
            self._wakers.pop().close()


class _Waker:
    """Wakes a thread that waits for a socket.

    The last reference to it closes its descriptor at the latest, because an exception may interrupt
    its user anywhere. One call of C opens and stores the descriptor, one closes it.

    Attributes:
        thread: the identifier of that thread; 0: none.
        rung: `wake` was called since the last request began, perhaps by the thread itself.
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
        """Wake the thread; a call by the thread itself only sets ``rung``."""
        self.rung = True
        if threading.get_ident() != self.thread:
            os.eventfd_write(self._fd, 1)

    def wait(self, fd: int) -> None:
        """Wait until ``fd`` is readable or `wake` was called, perhaps for an earlier request."""
        self._poll.register(fd, select.POLLIN)
        try:
            for ready, _ in self._poll.poll():
                if ready == self._fd:
                    os.eventfd_read(ready)
        finally:
            self._poll.unregister(fd)

    def close(self) -> None:
        """Close the descriptor; idempotent."""
        fds, self._fds = self._fds, []
        deque(map(os.close, fds), maxlen=0)

    def __del__(self) -> None:
        self.close()


class _SignalDeferral:
    """A block in which handlers of signals are deferred; they are called at its end.

    Python calls handlers in the main thread only, so it does nothing in other threads.
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
        except BaseException:  # by a handler that was not deferred yet
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
        else:  # `__exit__` did not restore this handler, because another one raised there.
            self._handlers[signum](signum, frame)


_known: tuple[tuple[object, ...], dict[int, Handler]] = ((), {})


def _handlers() -> dict[int, Handler]:
    """The handlers that are written in Python, by signal."""
    global _known
    now = tuple(map(getsignal, _SIGNALS))
    if now != _known[0]:  # handlers change rarely
        _known = now, {n: each for n, each in zip(_SIGNALS, now, strict=True) if callable(each)}
    return _known[1]


def _has_room(frames: int) -> bool:
    """Whether the stack has room for that many more frames."""
    try:
        sys._getframe(sys.getrecursionlimit() - frames)
    except ValueError:  # The stack is not that deep.
        return True
    return False
