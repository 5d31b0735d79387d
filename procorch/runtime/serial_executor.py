"""A thread for code of the user: policies and callbacks do not run on the monitor thread (N13)."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from procorch.clock import REAL, Clock

_log = logging.getLogger("procorch")


class SerialExecutor:
    """Runs calls one after another on one daemon thread.

    A call that never returns delays the later calls and nothing else: `close` does not wait for it.

    It takes no lock: a signal handler or a finalizer may interrupt `call` and call it again. The
    caller appends first and reads ``_over`` second. The thread sets ``_over`` first and empties the
    queue second. So exactly one of them makes each call.
    """

    def __init__(self, name: str, clock: Clock = REAL) -> None:
        self._name = name
        self._clock = clock
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._closed = self._over = False

    def start(self) -> None:
        """Start the thread. The first call would be too late: it may come while the interpreter
        exits, when no thread can be started any more (Python 3.12)."""
        self._thread.start()

    def call(self, function: Callable[[], None]) -> None:
        """Call ``function`` on the thread; from any thread. After `close` the caller runs it."""
        if self._closed:
            function()
            return
        self._calls.put(self._clock.promise(function, self._name))
        if self._over:
            self._call_remaining()

    def _run(self) -> None:
        while (function := self._calls.get()) is not None:
            self._call(function)
        self._over = True
        self._call_remaining()

    def _call_remaining(self) -> None:
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
        except BaseException:  # code of the user, whose error has no other receiver
            _log.exception("a callback raised an exception on thread %s", self._name)

    def close(self, timeout: float) -> None:
        """End the thread after the calls made so far; wait at most ``timeout`` seconds for it."""
        self._closed = True
        self._calls.put(None)
        if self._thread.ident is None:  # it was not started
            return
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
