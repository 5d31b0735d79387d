"""Ends the workers of an executor, once, and at the latest when the program ends.

This object does not belong to the executor, because an executor may be collected while its calls go
on. No lock is taken: a signal handler, a finalizer or a callback may shut down an executor while it
is being shut down.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from collections import deque
from functools import cache
from typing import Any

from procorch.errors import Aborted, AgentError, RequestCancelled
from procorch.futures.fork_guard import is_ours
from procorch.futures.latch import Latch
from procorch.pool import AgentPool

_NO_LIMIT = 1e9
"""Seconds."""

_open: set[Closing] = set()


class Closing:
    """Shuts one pool down.

    Attributes:
        begun: no more calls are accepted.
        cancelled: calls that have not begun are cancelled.
        over: the workers have ended.
    """

    # A finalizer may ask at the end of the interpreter, when the module has lost its names.
    _is_ours = staticmethod(is_ours)

    def __init__(self, pool: AgentPool) -> None:
        self.begun: bool = False
        self.cancelled: bool = False
        self.over: bool = False
        self._aborted = False
        self._pool = pool
        self._chunks: set[Any] = set()
        self._inputs: set[Any] = set()
        self._idle_latches: deque[Latch] = deque()
        self._owner = os.getpid()
        _finish_at_exit(self)

    @property
    def ours(self) -> bool:
        """Whether this process has started the workers, and is not a fork of the one that has."""
        return self._is_ours(self._owner)

    def chunk_sent(self, chunk: object) -> None:
        """Note that a chunk of a ``map`` is under way; its calls may have to be sent again."""
        self._chunks.add(chunk)

    def chunk_done(self, chunk: object) -> None:
        """Note that a chunk is finished.

        The chunk is removed first, and then the latches are opened. A thread that waits first adds
        its latch, and then looks for chunks. So no thread waits in vain.
        """
        self._chunks.discard(chunk)
        self._wake_if_idle()

    def input_opened(self, source: object) -> None:
        """Note that the first calls of a ``map`` are being read; a shutdown waits for them."""
        self._inputs.add(source)

    def input_sent(self, source: object) -> None:
        """Note that the first calls have been sent, or that a shutdown need not wait for them."""
        self._inputs.discard(source)
        self._wake_if_idle()

    def accepts(self, source: object) -> bool:
        """Whether calls that a ``map`` has read from ``source`` are still to be made."""
        return not self.begun or source in self._inputs

    def refusal(self) -> AgentError:
        """The error of calls that are not made because of the shutdown."""
        return Aborted() if self._aborted else RequestCancelled()

    def _busy(self) -> bool:
        return bool(self._chunks or self._inputs)

    def _wake_if_idle(self) -> None:
        while not self._busy() and self._idle_latches:
            with contextlib.suppress(IndexError):
                self._idle_latches.popleft().open()

    def shutdown(self, *, wait: bool, cancel: bool) -> None:
        """Accept no more calls; end the workers when the accepted calls are done.

        Args:
            wait: return when the workers have ended.
            cancel: cancel the calls that have not begun.
        """
        self.begun = True
        if cancel:
            self.cancelled = True
            self._inputs.clear()
            self._wake_if_idle()
            self._pool.queue.withdraw_waiting()
        if wait and self._pool.queue.may_wait():
            self.finish()
        elif not self.over:
            # A daemon thread, so that a Ctrl-C does not wait for it. A normal end of the program
            # waits for it (`_finish_all`), and finishes itself if no thread can be started.
            with contextlib.suppress(RuntimeError):
                threading.Thread(target=self.finish, name="procorch-shutdown", daemon=True).start()

    def finish(self) -> None:
        """Wait for the calls, then end the workers; Ctrl-C aborts the calls."""
        self.begun = True
        try:
            while self._busy():
                latch = Latch()
                self._idle_latches.append(latch)
                if self._busy():
                    latch.wait()
            self._pool.close(timeout=_NO_LIMIT)
        except BaseException:
            self.abort()
            raise
        self._end()

    def abort(self, timeout: float = 30.0) -> None:
        """Abort the calls and end the workers within about ``timeout`` seconds."""
        self.begun = self.cancelled = self._aborted = True
        self._inputs.clear()
        self._pool.close(drain=False, timeout=timeout)
        self._end()

    def _end(self) -> None:
        self.over = True
        _open.discard(self)


def _finish_at_exit(closing: Closing) -> None:
    """Make the interpreter wait for the calls at its exit, as the standard library's executors do.

    The hook is registered after that of `runtime.lifetime`, which would abort the calls, and so
    runs before it.
    """
    if not _open:
        atexit.unregister(_finish_all)
        atexit.register(_finish_all)
        _forget_in_forks()
    _open.add(closing)


@cache
def _forget_in_forks() -> None:
    """In a fork, leave open executors to the parent: the fork has no threads that finish them."""
    os.register_at_fork(after_in_child=_open.clear)


def _finish_all() -> None:
    # ``last_value`` is an unhandled exception; at an interactive prompt, any earlier one.
    interactive = hasattr(sys, "ps1")
    interrupted = isinstance(getattr(sys, "last_value", None), KeyboardInterrupt)
    try:
        for closing in list(_open):
            if interrupted and not interactive:
                closing.abort()
            else:
                closing.finish()
    except BaseException:  # Ctrl-C
        for closing in list(_open):
            closing.abort()
        raise
