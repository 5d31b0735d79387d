"""A main program that ends in order: on SIGTERM, as the first process of a container, in time.

Three threads have a part in its end:

* The handler of a signal runs in the main thread, inside the user's code. So it only notes the
  first signal. It raises `_Leave` when the watcher asks for it, and ends the program at once on a
  second signal.
* The watcher drains all orchestrators and pools, and then has the main function left if it still
  runs. At the deadline it ends the program, whatever the other threads do.
* The main function goes on meanwhile, and gets the results of what was accepted.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from types import FrameType
from typing import Any, NoReturn

from procorch.errors import AgentStopped
from procorch.launch import launchers
from procorch.runtime import lifetime
from procorch.units import seconds

_LAST_WORDS = 1.0
"""Seconds that the main function has to end by itself after everything has drained."""
_KILL_WAIT = 1.0
"""Seconds after the deadline in which processes are killed before the program ends."""


class _Leave(BaseException):
    """Ends a main function that still runs after everything has drained."""


def run(
    main: Callable[[], object] | Callable[[], Coroutine[Any, Any, object]],
    *,
    drain_timeout: float | str = "25s",
) -> NoReturn:
    """Run the main function of a program, and end the program; the last call of a script.

    On SIGTERM or SIGINT all orchestrators and pools are closed: they finish what they have
    accepted, accept nothing more, and tell services to stop. ``main`` goes on meanwhile. If it
    still runs after that, it is left by an exception (its task is cancelled, if it is async). A
    second signal ends the program at once. As PID 1 the program reaps the orphans that it adopts
    (N20).

    The exit code is 0 if ``main`` returned something else than a number, or if the program was
    stopped and all that was accepted was finished in time; the number that ``main`` returned or
    gave to `sys.exit`; 1 if ``main`` raised; 128 and the number of the signal (143 for SIGTERM) if
    the time was not enough, or after a second signal.

    Args:
        main: a function without arguments, sync or async.
        drain_timeout: seconds from the first signal, or from the end of ``main``, to the end of the
            program at the latest.

    Raises:
        RuntimeError: it is not called in the main thread, or inside a running event loop.
        TypeError, ValueError: an argument is wrong.

    Example:
        >>> def main():
        ...     with AgentPool(lambda: abs, workers=2) as pool:
        ...         print(sum(pool.imap(range(-1000, 0))))
        >>> run(main, drain_timeout="10s")
    """
    if not callable(main):
        raise TypeError(f"run() takes a function without arguments, not {type(main).__name__}")
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("procorch.run() handles signals: call it in the main thread")
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("procorch.run() starts an event loop itself: call it outside of one")
    sys.exit(_Program(main, seconds(drain_timeout, "drain_timeout")).run())


class _Program:
    """One main program.

    Args:
        main: its function.
        timeout: seconds that its end may take.
    """

    def __init__(self, main: Callable[[], object], timeout: float) -> None:
        self._main = main
        self._timeout = timeout
        # Without locks, because the handler of a signal may interrupt the main thread anywhere.
        self._stops: SimpleQueue[int] = SimpleQueue()
        self._signum = 0
        self._leave = False
        self._in_time = True
        self._drained = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.main_thread().ident
        self._task: asyncio.Task[object] | None = None

    def run(self) -> int:
        """Run the function; returns the exit code."""
        launchers.reap_if_first()
        threading.Thread(target=self._watch, name="procorch-main", daemon=True).start()
        for signum in (signal.SIGTERM, signal.SIGINT):
            # A shell has a background job ignore Ctrl-C, which is for the job in front of it.
            if signum is signal.SIGTERM or signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._came)
        try:
            code = self._call()
        except (_Leave, AgentStopped, asyncio.CancelledError):
            if not self._signum:
                raise
            code = 0
        finally:
            self._ended.set()
            if not self._signum:
                self._stops.put(0)
        if self._signum:
            self._drained.wait()
            return code if self._in_time else 128 + self._signum
        return code

    def _call(self) -> int:
        result = self._main()
        if inspect.iscoroutine(result):
            result = asyncio.run(self._whole(result))
        return result if type(result) is int else 0

    async def _whole(self, main: Coroutine[Any, Any, object]) -> object:
        self._task = asyncio.current_task()
        return await main

    def _came(self, signum: int, frame: FrameType | None) -> None:
        if self._leave:
            self._leave = False
            raise _Leave
        if self._signum or self._ended.is_set():
            self._end_now(signum, "a second signal came")
        self._signum = signum
        self._stops.put(signum)

    # ---- the watcher

    def _watch(self) -> None:
        signum = self._stops.get()
        deadline = time.monotonic() + self._timeout
        if signum:
            drained = lifetime.close_all(drain=True, timeout=self._timeout)
            self._in_time = time.monotonic() <= deadline
            self._drained.set()
            if drained:
                self._ended.wait(_LAST_WORDS)
            if not self._ended.is_set():
                self._make_leave(signum)
        time.sleep(max(0.0, deadline + _KILL_WAIT - time.monotonic()))
        self._end_now(signum, f"it has not ended within {self._timeout:g} s")

    def _make_leave(self, signum: int) -> None:
        task = self._task
        if task is not None:
            with suppress(RuntimeError):  # its loop has just been closed
                task.get_loop().call_soon_threadsafe(task.cancel)
        elif self._thread is not None:
            self._leave = True
            signal.pthread_kill(self._thread, signum)

    @staticmethod
    def _end_now(signum: int, why: str) -> NoReturn:
        """End without exit handlers, which may hang. The kernel ends the workers."""
        with suppress(OSError):
            os.write(2, f"procorch: the program is ended at once: {why}\n".encode())
        os._exit(128 + signum if signum else 1)
