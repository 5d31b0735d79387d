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
  machine inconsistent. `SignalDeferral` runs handlers after the step, some microseconds later.
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
from collections import deque
from functools import partial
from typing import Any

from procorch.futures import socket_readers
from procorch.futures.reply import Reply
from procorch.launch.base import WorkerProcess
from procorch.runtime.loop import Loop
from procorch.runtime.ports import OwnerPort
from procorch.runtime.signal_deferral import SignalDeferral
from procorch.runtime.stepper import Stepper
from procorch.supervision.request import Request

_BRIEF = 2
"""Milliseconds for which handlers of signals stay replaced while the caller waits."""
_FRAMES = 80
"""Stack frames that a step may need."""


class Direct:
    """Serves callers that wait.

    Args:
        loop: the loop of the monitor.
        monitor: handles what was posted.
        stepper: steps the machine.

    Attributes:
        allowed: whether the monitor runs, and the launcher's workers have sockets to read.
    """

    def __init__(self, loop: Loop[Any], monitor: OwnerPort, stepper: Stepper) -> None:
        self._loop = loop
        self._ownership = loop.ownership
        self._monitor = monitor
        self._stepper = stepper
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
        deferral = SignalDeferral()
        waker = self._wakers.pop() if self._wakers else _Waker()
        waker.rung, reply.on_end = False, waker.wake
        me = threading.get_ident()
        process: WorkerProcess | None = None  # whose socket this thread reads
        try:
            deferral.begin()
            if not self._ownership.acquire(blocking=False):
                return  # Another thread acts as the monitor, and takes the request.
            try:
                if self._loop.posted:
                    self._monitor.take_posted()
                started, fd = self._stepper.submit_to_read(request)
                if started is not None and fd >= 0:
                    process, waker.thread = started, me
                    socket_readers.holders[me] = partial(self._return, started, waker)
            except BaseException as error:
                self._monitor.fail(error)
                raise
            finally:
                self._loop.release_ownership()
            while process is not None:
                if not waker.rung:
                    deferral.deferring = False
                    if deferral.came:
                        deferral.end()
                    if not waker.wait(fd, _BRIEF):
                        deferral.end()
                        waker.wait(fd, None)
                    deferral.deferring = True
                    if not deferral.replaced:
                        deferral.begin()
                self._ownership.acquire()
                try:
                    if self._loop.posted:
                        self._monitor.take_posted()
                    if not self._read(process, waker):
                        process = None
                except BaseException as error:
                    self._monitor.fail(error)
                    raise
                finally:
                    self._loop.release_ownership()
        finally:
            try:
                if process is not None:  # An exception, such as Ctrl-C, has ended the loop above.
                    deferral.begin()
                reply.on_end = None
                socket_readers.holders.pop(me, None)
                if process is not None:
                    self._return(process, waker)
                self._wakers.append(waker)
                if self._closed:
                    self.close()
            finally:
                deferral.end()

    def _read(self, process: WorkerProcess, waker: _Waker) -> bool:
        """Read the socket once; returns whether this thread has to go on reading."""
        detached = process.read()
        if waker.rung:
            a = self._stepper.instances.get(process.spec.key)
            if a is not None and a.process.inflight:
                process.attach_reader()
            else:
                process.leave_reader()
            return False
        return detached

    def _return(self, process: WorkerProcess, waker: _Waker) -> None:
        """Attach the socket to the loop again. The end of the future wakes the thread then."""
        waker.thread = 0
        deferral = SignalDeferral()
        try:
            deferral.begin()
            self._ownership.acquire()
            try:
                self._monitor.take_posted()
                process.attach_reader()
            except BaseException as error:
                self._monitor.fail(error)
                raise
            finally:
                self._loop.release_ownership()
        finally:
            deferral.end()

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
        self._polled = -1
        self.thread = 0
        self.rung = False

    def wake(self) -> None:
        """Wake the thread; a call by the thread itself only sets ``rung``."""
        self.rung = True
        if threading.get_ident() != self.thread:
            os.eventfd_write(self._fd, 1)

    def wait(self, fd: int, timeout: int | None) -> bool:
        """Wait until ``fd`` is readable or `wake` was called, perhaps for an earlier request.

        Args:
            timeout: milliseconds; None: no limit.

        Returns:
            False: nothing has happened in that time.
        """
        if fd != self._polled:
            if self._polled >= 0:
                self._poll.unregister(self._polled)
            self._poll.register(fd, select.POLLIN)
            self._polled = fd
        ready = self._poll.poll(timeout)
        for each, _ in ready:
            if each == self._fd:
                os.eventfd_read(each)
        return bool(ready)

    def close(self) -> None:
        """Close the descriptor; idempotent."""
        fds, self._fds = self._fds, []
        deque(map(os.close, fds), maxlen=0)

    def __del__(self) -> None:
        self.close()


def _has_room(frames: int) -> bool:
    """Whether the stack has room for that many more frames."""
    try:
        sys._getframe(sys.getrecursionlimit() - frames)
    except ValueError:  # The stack is not that deep.
        return True
    return False
