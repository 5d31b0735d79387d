"""A caller that waits writes its request and reads its reply itself (docs/decisions/007).

Through the monitor a request costs two changes of threads, which is most of its time. A caller that
is going to wait anyway takes the *turn* (the right to act as the monitor, `Loop.turn`), hands its
request to the machine and has performed what that decides: for an idle agent, to write it. Then it
has the monitor look away from the worker's socket and reads that itself, in a turn each time, until
its outcome is there. Nothing is decided differently for it: the machine sees the same events.

What endangers a turn that is taken on a thread of the user's, and what is done about it:

* *A signal handler that raises* (Ctrl-C) in the main thread, in the middle of a step, would leave
  the machine in pieces. Handlers wait for the end of the turn, some microseconds: `_Quiet`.
* *A stack that is nearly full* would end a step by `RecursionError`: `_has_room` looks first.
* *A signal handler that waits for the same worker* while this thread waits for its socket: it gives
  the socket back to the monitor first (`loans`).
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
from typing import Any, Protocol, TypeAlias, TypeVar

from procorch.futures import socket_readers
from procorch.futures.reply import Reply
from procorch.launch.base import WorkerProcess
from procorch.runtime.cargo import Cargo
from procorch.supervision import events as ev
from procorch.supervision.request import Request

T = TypeVar("T")

Handler: TypeAlias = Callable[[int, FrameType | None], Any]

_SIGNALS = range(1, NSIG)
_MAIN = threading.main_thread().ident
_FRAMES = 80
"""What a turn may need of the stack."""


class Turns(Protocol):
    """What is needed of the loop."""

    @property
    def turn(self) -> threading.Lock:
        """Who holds it acts as the monitor."""
        ...

    def end_turn(self, due: Callable[[], float | None]) -> None:
        """See `Loop.end_turn`."""
        ...


class Direct:
    """Serves callers that wait.

    Args:
        first: hands to the machine what was posted before.
        step: hands it an event.
        due: the time it has to be looked at next.
        failed: called with what went wrong in a turn: never the request's fault.

    Attributes:
        allowed: there is a monitor, and workers whose sockets can be read.
    """

    def __init__(
        self,
        turns: Turns,
        first: Callable[[], None],
        step: Callable[[ev.Event], None],
        due: Callable[[], float | None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._turns = turns
        self._first = first
        self._step = step
        self._due = due
        self._failed = failed
        self._bells: deque[_Bell] = deque()
        self._closed = False
        self.allowed: bool = False

    def call(self, request: Request, reply: Reply[Any]) -> None:
        """Hand in ``request`` and read until it has its outcome, or the monitor has to go on.

        Where that cannot be, it is not handed in.
        """
        if not self.allowed or not _has_room(_FRAMES):
            return
        socket_readers.give_back()
        quiet, fd = _Quiet(), -1
        cargo: Cargo = request.cargo
        bell = self._bells.pop() if self._bells else _Bell()

        def begin() -> None:
            nonlocal fd
            self._step(ev.Submit(request))
            if cargo.process is not None:
                fd = cargo.process.lend()
                if fd >= 0:
                    bell.thread = threading.get_ident()
                    socket_readers.holders[bell.thread] = partial(self._return, cargo.process, bell)

        try:
            with quiet:
                if not self._turns.turn.acquire(blocking=False):
                    return
                self._act(begin)
            if fd >= 0 and cargo.process is not None:
                self._attend(reply, cargo.process, fd, quiet, bell)
                fd = -1
        finally:
            socket_readers.holders.pop(threading.get_ident(), None)
            if fd >= 0 and cargo.process is not None:  # It is left by an interrupt (Ctrl-C).
                self._return(cargo.process, bell)
            self._bells.append(bell)
            if self._closed:
                self.close()

    def _return(self, process: WorkerProcess, bell: _Bell) -> None:
        """Have the monitor read again what this thread has read, and ring whoever has the news."""
        bell.thread = 0
        with _Quiet():
            self._turns.turn.acquire()
            self._act(process.take_back)

    def close(self) -> None:
        """All outcomes are fixed; for who has the turn."""
        self.allowed, self._closed = False, True
        while self._bells:
            self._bells.pop().close()

    def _attend(
        self, reply: Reply[Any], process: WorkerProcess, fd: int, quiet: _Quiet, bell: _Bell
    ) -> None:
        """Read from ``fd``, which is lent to this thread."""

        def read() -> bool:
            lent = process.read()
            if reply.done():
                process.take_back()
                return False
            return lent

        reply.notify(bell.ring)
        lent = not reply.done()  # it may have been given back, and answered, meanwhile
        while lent:
            bell.wait(fd)
            with quiet:
                self._turns.turn.acquire()
                lent = self._act(read)

    def _act(self, act: Callable[[], T]) -> T:
        """Use the turn, which this thread has taken, and end it."""
        try:
            self._first()
            return act()
        except BaseException as error:
            self._failed(error)
            raise
        finally:
            self._turns.end_turn(self._due)


class _Bell:
    """Wakes the thread that has it out of its waiting.

    Its descriptor is closed with the last reference to it at the latest: whoever takes a bell may
    be interrupted anywhere. One call of C makes and keeps it, one closes it: nothing divides them.

    Attributes:
        thread: which one that is.
    """

    def __init__(self) -> None:
        self._fds: list[int] = []
        self._fds.extend(map(os.eventfd, (0,), (os.EFD_CLOEXEC | os.EFD_NONBLOCK,)))
        self._fd = self._fds[0]
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self.thread = 0

    def ring(self) -> None:
        """Wake it; it does not wake itself."""
        if threading.get_ident() != self.thread:
            os.eventfd_write(self._fd, 1)

    def wait(self, fd: int) -> None:
        """Wait for something to read in ``fd``, or for a ring, which may be an old one."""
        self._poll.register(fd, select.POLLIN)
        try:
            for ready, _ in self._poll.poll():
                if ready == self._fd:
                    os.eventfd_read(ready)
        finally:
            self._poll.unregister(fd)

    def close(self) -> None:
        """Nobody will ring it any more."""
        fds, self._fds = self._fds, []
        deque(map(os.close, fds), maxlen=0)

    def __del__(self) -> None:
        self.close()


class _Quiet:
    """While it is entered, signals are handled by nobody; those that came are when it is left.

    Only the main thread is called upon to handle signals.
    """

    def __init__(self) -> None:
        self._handlers = _handlers() if threading.get_ident() == _MAIN else {}
        self._came: list[tuple[int, FrameType | None]] = []
        self._entered = False

    def __enter__(self) -> _Quiet:
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
