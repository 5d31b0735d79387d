"""A thread for the user's code: policies and callbacks never run on the monitor thread (N13)."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from procorch.clock import REAL, Clock

_log = logging.getLogger("procorch")


class SerialExecutor:
    """Runs calls one after another on one daemon thread.

    A call that never returns holds up the later ones and nothing else: `close` does not wait for
    it.

    No lock is taken: a signal handler or a finalizer may interrupt `call` and make another one. The
    caller appends first and looks at ``_over`` second; the thread sets ``_over`` first and empties
    the queue second. So each call is made by exactly one of them.
    """

    def __init__(self, name: str, clock: Clock = REAL) -> None:
        self._name = name
        self._clock = clock
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._closed = self._over = False

    def start(self) -> None:
        """Start the thread: not only with the first call, because the first call may be made while
        the interpreter exits, and then (Python 3.12) no thread can be started any more."""
        self._thread.start()

    def call(self, function: Callable[[], None]) -> None:
        """Have ``function`` called; from any thread. After `close` it runs on the caller's."""
        if self._closed:
            function()
            return
        self._calls.put(self._clock.promise(function, self._name))
        if self._over:
            self._call_what_is_left()

    def _run(self) -> None:
        while (function := self._calls.get()) is not None:
            self._call(function)
        self._over = True
        self._call_what_is_left()

    def _call_what_is_left(self) -> None:
        while True:
            try:
                function = self._calls.get_nowait()
            except queue.Empty:
                return
            if function is not None:
                self._call(function)

    def _call(self, function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException:  # it is the user's, and there is nobody to hand it to
            _log.exception("a callback failed on thread %s", self._name)

    def close(self, timeout: float) -> None:
        """Let the calls that were made run, and end; wait for it at most ``timeout`` seconds."""
        self._closed = True
        self._calls.put(None)
        if self._thread.ident is None:  # it could not be started
            return
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
