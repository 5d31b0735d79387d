"""Ending one request of a living worker: stages 1 and 2 of the ladder (N8).

The parent writes on the status page which request is to end and how hard, then sends `CANCEL`, a
signal. Python runs the handler in the main thread, between two of its bytecodes or inside a
blocking call that a signal interrupts. What keeps it from hitting anything else, the *fence*:

* It acts only while the fence is open for the very request that the page names. The fence is shut
  before the reply is written, so neither that nor the next request can be hit; a signal that
  arrives late finds it shut.
* It raises at most once a request, and shuts the fence itself before it does: wherever in the
  worker's own code the exception comes out, no second one can follow it into the reply.
* It raises nothing into an import, whose half-made modules would be the next request's problem, nor
  into the event loop's own code or ours on the wire, where bytes would be lost, nor into itself: a
  signal may find the handler of the one before at work, which itself interrupted such code. The
  parent sends the signal again until the request has ended, so what had to be put off comes a
  moment later, and so does what Python had to drop (in ``__del__`` and the callbacks of weak
  references no exception gets out).
* A coroutine that waits gets the exception where it waits (`interruptible`), and what runs in the
  loop besides it, a background task of the agent, is left alone as long as there is another way.

``CANCEL`` and ``STACK`` are real-time signals: the agent's own code may use all the others.
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
"""Look at the status page: a request is to end."""
STACK = signal.SIGRTMIN + 9
"""Write the stacks of all threads onto the status page."""

_EVENT_LOOP = ("asyncio.", "selectors", __name__)
_PROTECTED = (
    "importlib._bootstrap",
    "procorch.wire.",
    "procorch.worker.parent_link",
    "procorch.worker.orphans",
)
_WAITING = "wait_for_frame"
"""The function of `worker.parent_link` that merely waits: nothing is lost by leaving it."""


class Interrupted(BaseException):
    """Raised in the agent's code when its request is cancelled or out of time (N8).

    Not an ``Exception``, so that code which handles its own errors does not handle this one.
    """


class InterruptGate:
    """Lets cancellation through to one request at a time, and to nothing else."""

    def __init__(self, page: StatusPage, context: Context) -> None:
        self._page = page
        self._context = context
        self._request = 0
        self._raised = 0
        self._told = 0
        self._task: asyncio.Task[Any] | None = None
        self._page_file: tuple[int, os.stat_result] | None = None

    def install(self, page_fd: int) -> None:
        """Take the two signals; stacks go to ``page_fd``, which must stay open."""
        self._page_file = page_fd, os.fstat(page_fd)
        signal.signal(CANCEL, self.look)
        unraisable = sys.unraisablehook

        def rearm(dropped: sys.UnraisableHookArgs) -> None:
            if dropped.exc_type is Interrupted:
                self._told = 0  # All of it anew: the task may wait where only the first one helps.
                self._request = self._raised
            else:
                unraisable(dropped)

        sys.unraisablehook = rearm
        faulthandler.enable(file=page_fd, all_threads=True)
        faulthandler.register(STACK, file=page_fd, all_threads=True)

    @staticmethod
    def release() -> None:
        """In a fork of the worker: its stacks go where it prints errors."""
        faulthandler.unregister(STACK)
        faulthandler.enable(file=2, all_threads=True)

    def open(self, request: int) -> None:
        """The agent begins to work on ``request``.

        Raises:
            Interrupted: it was cancelled while it was still on its way here.
        """
        self._told = 0
        self._request = request
        if self._page.force(request):
            self._request = 0
            raise Interrupted

    def close(self) -> None:
        """The agent is done with it."""
        self._request = 0

    def forget_stacks(self) -> None:
        """A request was answered: the stacks that it was asked for, as one that hangs, are not
        those of a later crash."""
        if not self._page.has_text or self._page_file is None:
            return
        fd, file = self._page_file
        with contextlib.suppress(OSError):  # the agent may have closed it, and opened another
            if os.path.samestat(os.fstat(fd), file):
                self._page.forget_text(fd)

    def set_task(self, task: asyncio.Task[Any] | None) -> None:
        """``task`` does the work: cancelling it is the first stage. What was told before there was
        one, it has not heard."""
        self._task = task
        self._told = 0

    def look(self, signum: int, frame: FrameType | None) -> None:
        """The handler of the signal: see what the page wants, in the thread of the agent.

        Raises:
            Interrupted: the agent's code is to be left here.
        """
        request = self._request
        force = self._page.force(request) if request else 0
        if not force:
            return
        self._context.cancel(request)
        first, self._told = force > self._told, force
        if force == RAISE and not self._protected(frame, first):
            self._raised, self._request = request, 0
            raise Interrupted
        if first and self._task is not None:
            # From a signal handler only this is allowed; it also wakes a loop that waits.
            self._task.get_loop().call_soon_threadsafe(self._cancel_task, self._task, request)

    def _cancel_task(self, task: asyncio.Task[Any], request: int) -> None:
        """In the loop; not where the exception came in between, which the task may be handling."""
        if self._request == request:
            task.cancel()

    def _protected(self, frame: FrameType | None, first: bool) -> bool:
        """Whether an exception must not come out of this place, or not on the first try."""
        if self._task is not None:
            if _in_event_loop(frame):
                return True
            running = sys.modules["asyncio"].current_task(self._task.get_loop())
            if first and running is not self._task:
                return True
        return _vulnerable(frame)

    def spend(self) -> bool:
        """Whether the task's cancellation, which has just come, is to be the exception (once)."""
        if not self._request or self._told != RAISE:
            return False
        self._request = 0
        return True


async def interruptible(awaitable: Awaitable[Any], gate: InterruptGate) -> Any:
    """What ``awaitable`` gives; on the second stage it is not cancelled where it waits but
    `Interrupted`, which code that swallows its cancellation does not swallow."""
    return await _drive(_awaited(awaitable).__await__(), gate)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    try:
        return await awaitable
    finally:
        leave_if_forked()


@types.coroutine
def _drive(steps: Generator[Any, Any, Any], gate: InterruptGate) -> Generator[Any, Any, Any]:
    """``yield from steps``, but for the one exception."""
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
            error = Interrupted() if gate.spend() else cancelled
        except BaseException as thrown:
            error = thrown


def _vulnerable(frame: FrameType | None) -> bool:
    if frame is not None and frame.f_code.co_name == _WAITING:
        return False
    while frame is not None:
        if _module(frame).startswith(_PROTECTED) or frame.f_code is InterruptGate.look.__code__:
            return True
        frame = frame.f_back
    return False


def _in_event_loop(frame: FrameType | None) -> bool:
    """Whether the loop's own code runs, ours in it, or what they call of the standard library."""
    while frame is not None and not (module := _module(frame)).startswith(_EVENT_LOOP):
        if module.partition(".")[0] not in sys.stdlib_module_names:
            return False
        frame = frame.f_back
    return frame is not None


def _module(frame: FrameType | None) -> str:
    return "" if frame is None else str(frame.f_globals.get("__name__", ""))
