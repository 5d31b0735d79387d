"""Ending one request of a living worker: rungs 1 and 2 of the ladder (N8).

The parent writes on the status page which request is to end and how hard, then sends `CANCEL`, a
signal. Python runs the handler in the main thread, between two of its bytecodes or inside a
blocking call that a signal interrupts. What keeps it from hitting anything else, the *fence*:

* It acts only while the fence is open for the very request that the page names. The fence is shut
  before the reply is written, so neither that nor the next request can be hit; a signal that
  arrives late finds it shut.
* It raises at most once a request, and shuts the fence itself before it does: wherever in the
  worker's own code the exception comes out, no second one can follow it into the reply.
* It raises nothing into an import, whose half-made modules would be the next request's problem, nor
  into the event loop's own code or ours on the wire, where bytes would be lost. The parent sends
  the signal again until the request has ended, so what had to be put off comes a moment later.

``CANCEL`` and ``STACK`` are real-time signals: the agent's own code may use all the others.
"""

from __future__ import annotations

import faulthandler
import signal
from types import FrameType
from typing import TYPE_CHECKING, Any

from procorch.context import Context
from procorch.wire.status import RAISE, StatusPage

if TYPE_CHECKING:
    import asyncio

CANCEL = signal.SIGRTMIN + 8
"""Look at the status page: a request is to end."""
STACK = signal.SIGRTMIN + 9
"""Write the stacks of all threads onto the status page."""

_EVENT_LOOP = ("asyncio.", "selectors")
_PROTECTED = ("importlib._bootstrap", "procorch.wire.", "procorch.worker.parent")
_WAITING = "wait_for_frame"
"""The function of `procorch.worker.parent` that merely waits: nothing is lost by leaving it."""


class Interrupted(BaseException):
    """Raised in the agent's code when its request is cancelled or out of time (N8).

    Not an ``Exception``, so that code which handles its own errors does not handle this one.
    """


class Fence:
    """Lets cancellation through to one request at a time, and to nothing else."""

    def __init__(self, page: StatusPage, context: Context) -> None:
        self._page = page
        self._context = context
        self._request = 0
        self._told = 0
        self._task: asyncio.Task[Any] | None = None

    def install(self, page_fd: int) -> None:
        """Take the two signals; stacks go to ``page_fd``, which must stay open."""
        signal.signal(CANCEL, self._cancel)
        faulthandler.enable(file=page_fd, all_threads=True)
        faulthandler.register(STACK, file=page_fd, all_threads=True)

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

    def shut(self) -> None:
        """The agent is done with it."""
        self._request = 0

    def set_task(self, task: asyncio.Task[Any] | None) -> None:
        """``task`` does the work: cancelling it is the first rung."""
        self._task = task

    def _cancel(self, signum: int, frame: FrameType | None) -> None:
        request = self._request
        force = self._page.force(request) if request else 0
        if not force:
            return
        self._context.cancel(request)
        task = self._task
        if task is not None and force > self._told:
            # From a signal handler only this is allowed; it also wakes a loop that waits.
            task.get_loop().call_soon_threadsafe(task.cancel)
        self._told = force
        if force == RAISE and not _protected(frame, in_task=task is not None):
            self._request = 0
            raise Interrupted


def _protected(frame: FrameType | None, *, in_task: bool) -> bool:
    """Whether an exception must not come out of this place."""
    if frame is not None and frame.f_code.co_name == _WAITING:
        return False
    if in_task and _module(frame).startswith(_EVENT_LOOP):
        return True
    while frame is not None:
        if _module(frame).startswith(_PROTECTED):
            return True
        frame = frame.f_back
    return False


def _module(frame: FrameType | None) -> str:
    return "" if frame is None else str(frame.f_globals.get("__name__", ""))
