"""Ends one request of a worker that lives on: stages 1 and 2 of the ladder (N8).

The parent writes to the status page which request is to end, and by which means, and then sends the
signal `CANCEL`. Python runs the handler in the main thread, between two bytecodes or inside a
blocking call that a signal interrupts. The `InterruptGate` keeps it from affecting other code:

* The handler acts only while the gate is open for the request that the page names. The gate is
  closed before the reply is written. So neither the reply nor the next request is interrupted, and
  a late signal has no effect.
* It raises at most once for each request, and closes the gate before it raises. So no second
  exception can interrupt the reply, wherever the first one arrives in the worker's own code.
* It does not raise into an import, which would leave half-made modules for the next request. It
  does not raise into the event loop's own code or procorch's code on the wire, where bytes would be
  lost, nor where a program is started, which would run on without anyone who knows it. It does not
  raise into itself: a second signal may interrupt the handler of the first one. The parent sends
  the signal again until the request has ended, so the exception comes a moment later. The same
  holds for exceptions that Python drops, in ``__del__`` and callbacks of weak references.
* A coroutine gets the exception where it waits (`interruptible`). Background tasks of the agent in
  the same loop are not interrupted, as long as there is another way.

``CANCEL`` and ``STACK`` are real-time signals, so that the agent's code may use all others.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import types
from collections.abc import Awaitable, Generator
from types import FrameType
from typing import TYPE_CHECKING, Any

from procorch.agents.context import Context
from procorch.wire.status import RAISE, StatusPage
from procorch.worker.fork_guard import leave_if_forked

if TYPE_CHECKING:
    import asyncio

CANCEL = signal.SIGRTMIN + 8
"""Signal: read the status page, because a request is to end."""
STACK = signal.SIGRTMIN + 9
"""Signal: write the stacks of all threads to the status page."""

_EVENT_LOOP = ("asyncio.", "selectors", __name__)
_PROTECTED = (
    "importlib._bootstrap",
    "procorch.wire.",
    "procorch.worker.parent_link",
    "procorch.worker.orphans",
    "procorch.agents.child_program",
)
_WAITING = ("wait_for_frame", "wait_for_program")
"""Functions of these modules that only wait: an exception there loses nothing."""


class Interrupted(BaseException):
    """Raised in the agent's code when its request is cancelled or out of time (N8).

    Not an ``Exception``, so that code which handles its own errors does not handle this one.
    """


class InterruptGate:
    """Lets an interrupt reach one request at a time, and no other code."""

    def __init__(self, page: StatusPage, context: Context) -> None:
        self._page = page
        self._context = context
        self._request = 0
        self._raised = 0
        self._last_force = 0
        self._task: asyncio.Task[Any] | None = None
        self._page_file: tuple[int, os.stat_result] | None = None

    def install(self, page_fd: int) -> None:
        """Handle the two signals; stacks are written to ``page_fd``, which must stay open."""
        self._page_file = page_fd, os.fstat(page_fd)
        signal.signal(CANCEL, self.look)
        unraisable = sys.unraisablehook

        def rearm(dropped: sys.UnraisableHookArgs) -> None:
            if dropped.exc_type is Interrupted:
                self._last_force = 0  # Begin with the first stage again.
                self._request = self._raised
            else:
                unraisable(dropped)

        sys.unraisablehook = rearm
        faulthandler.enable(file=page_fd, all_threads=True)
        faulthandler.register(STACK, file=page_fd, all_threads=True)
        self._page.promise_handlers()

    @staticmethod
    def release() -> None:
        """In a fork of the worker: write stacks to its standard error."""
        faulthandler.unregister(STACK)
        faulthandler.enable(file=2, all_threads=True)

    def open(self, request: int) -> None:
        """The agent begins to work on ``request``.

        Raises:
            Interrupted: it was cancelled before it began.
        """
        self._last_force = 0
        self._request = request
        if self._page.force(request):
            self._request = 0
            raise Interrupted

    def close(self) -> None:
        """The agent has finished the request."""
        self._request = 0

    def forget_stacks(self) -> None:
        """Erase the stacks on the page: they were written for a suspected hang, or on request, and
        a later crash must not show them."""
        if not self._page.may_erase or self._page_file is None:
            return
        fd, file = self._page_file
        with contextlib.suppress(OSError):  # the agent may have closed it, and opened another
            if os.path.samestat(os.fstat(fd), file):
                self._page.forget_text(fd)

    def set_task(self, task: asyncio.Task[Any] | None) -> None:
        """Set the task that runs the request: the first stage cancels it. Cancellations before this
        call did not reach it, so they are repeated."""
        self._task = task
        self._last_force = 0

    def look(self, signum: int, frame: FrameType | None) -> None:
        """The handler of `CANCEL`: read the page, in the thread of the agent.

        Raises:
            Interrupted: ends the agent's code at this place.
        """
        if self._page.must_erase():
            self.forget_stacks()
        request = self._request
        force = self._page.force(request) if request else 0
        if not force:
            return
        self._context.cancel(request)
        first, self._last_force = force > self._last_force, force
        if force == RAISE and not self._protected(frame, first):
            self._raised, self._request = request, 0
            raise Interrupted
        if first and self._task is not None:
            # A signal handler may call only this; it also wakes a loop that waits.
            self._task.get_loop().call_soon_threadsafe(self._cancel_task, self._task, request)

    def _cancel_task(self, task: asyncio.Task[Any], request: int) -> None:
        """Runs in the loop. No cancellation after the exception: the task may be handling that."""
        if self._request == request:
            task.cancel()

    def _protected(self, frame: FrameType | None, first: bool) -> bool:
        """Whether the handler must not raise at this place, or not at the first attempt."""
        if self._task is not None:
            if _in_event_loop(frame):
                return True
            running = sys.modules["asyncio"].current_task(self._task.get_loop())
            if first and running is not self._task:
                return True
        return _must_not_raise(frame)

    def consume(self) -> bool:
        """Whether the task's cancellation, which has just come, becomes `Interrupted` (once)."""
        if not self._request or self._last_force != RAISE:
            return False
        self._request = 0
        return True


async def interruptible(awaitable: Awaitable[Any], gate: InterruptGate) -> Any:
    """Await ``awaitable``. The second stage raises `Interrupted` where it waits and not a
    cancellation, because its code may suppress cancellations."""
    return await _drive(_awaited(awaitable).__await__(), gate)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    try:
        return await awaitable
    finally:
        leave_if_forked()


@types.coroutine
def _drive(steps: Generator[Any, Any, Any], gate: InterruptGate) -> Generator[Any, Any, Any]:
    """``yield from steps``, except that `Interrupted` may replace a cancellation."""
    from asyncio import CancelledError

    error: BaseException | None = None
    while True:
        try:
            waits_for = steps.send(None) if error is None else steps.throw(error)
        except StopIteration as finished:
            return finished.value
        error = None
        leave_if_forked("it cannot wait in the event loop of the worker")
        try:
            yield waits_for
        except GeneratorExit:
            steps.close()
            raise
        except CancelledError as cancelled:
            error = Interrupted() if gate.consume() else cancelled
        except BaseException as thrown:
            error = thrown


def _must_not_raise(frame: FrameType | None) -> bool:
    if frame is not None and frame.f_code.co_name in _WAITING:
        return False
    while frame is not None:
        if _module(frame).startswith(_PROTECTED) or frame.f_code is InterruptGate.look.__code__:
            return True
        frame = frame.f_back
    return False


def _in_event_loop(frame: FrameType | None) -> bool:
    """Whether code of the event loop runs, procorch's in it, or the standard library below them."""
    while frame is not None and not (module := _module(frame)).startswith(_EVENT_LOOP):
        if module.partition(".")[0] not in sys.stdlib_module_names:
            return False
        frame = frame.f_back
    return frame is not None


def _module(frame: FrameType | None) -> str:
    return "" if frame is None else str(frame.f_globals.get("__name__", ""))
