"""Runs tools that are plain functions, and ends them with their request.

One call of a turn runs on the thread of the event loop, a worker's main thread: there a
cancellation interrupts even what blocks (N8). Several calls of a turn run at the same time, each in
a thread. A thread is interrupted where it next runs Python code; the request waits until it has
ended. If it does not end, the request does not either, and the parent ends the process.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Thread
from types import FrameType
from typing import Any

_PROTECTED = ("procorch.", "importlib._bootstrap", "threading", "concurrent.futures")
"""Modules whose code is not interrupted: bytes would be lost, or a module left half made."""
_PAUSE = 0.01
"""Seconds between two looks at threads that are to end."""


class ToolEnded(BaseException):
    """Raised in the code of a plain tool whose request has ended.

    Not an ``Exception``, so that code which handles its own errors does not handle this one.
    """


class PlainTools(Executor):
    """The plain tools of one conversation.

    `several` says whether the turn under way has more than one call. Where other requests run at
    the same time (``beside_others``), each call has a thread: it must not hold them up.
    """

    def __init__(self, *, beside_others: bool = False) -> None:
        self._beside_others = beside_others
        self.several: bool = False
        self._calls: set[_Call] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function here and now, or in a thread if others run at the same time."""
        if self.several or self._beside_others:
            call = _Call(partial(copy_context().run, fn, *args, **kwargs))
            self._calls.add(call)
            call.done.add_done_callback(lambda done: self._calls.discard(call))
            call.start()
            return call.done
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # what interrupts a request goes on up, through the caller
            done.set_exception(error)
        return done

    async def run(self, fn: Callable[[], Any]) -> Any:
        """Run a function so, and await it. If that is cancelled, all calls are ended."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self, fn)
        except asyncio.CancelledError:
            await self.end()
            raise

    async def end(self) -> None:
        """End the calls that still run in threads, and wait until they have ended.

        Raises:
            BaseException: what came while it waited, once they have ended.
        """
        came: BaseException | None = None
        while running := [call for call in tuple(self._calls) if call.is_alive()]:
            for call in running:
                call.interrupt()
            try:
                await asyncio.sleep(_PAUSE)
            except BaseException as error:  # the stages that end this request (N8)
                came = error
        self._calls.clear()
        if came is not None:
            raise came


class _Call(Thread):
    """One call in a thread of its own."""

    def __init__(self, fn: Callable[[], Any]) -> None:
        super().__init__(name="procorch-tool", daemon=True)
        self.done: Future[Any] = Future()
        self.done.set_running_or_notify_cancel()  # from now on nobody can cancel it
        self._fn = fn
        self._runs = False
        self._interrupted = False

    def run(self) -> None:
        with suppress(ToolEnded):  # it may come a moment after the function has returned
            try:
                try:
                    self._runs = True
                    value = self._fn()
                finally:
                    self._runs = False
            except BaseException as error:
                self.done.set_exception(error)
            else:
                self.done.set_result(value)

    def interrupt(self) -> None:
        """Raise `ToolEnded` in the function, once; not where that would do harm."""
        frame = sys._current_frames().get(self.ident or 0)
        if not self._runs or self._interrupted or _protected(frame):
            return
        self._interrupted = True
        identity = ctypes.c_ulong(self.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(ToolEnded))


def _protected(frame: FrameType | None) -> bool:
    """Whether the innermost code of a thread is ours, or of the standard library for threads."""
    if frame is None:
        return True
    return str(frame.f_globals.get("__name__", "")).startswith(_PROTECTED)
