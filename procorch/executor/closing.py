"""The end of an executor's workers: once, whoever asks, and at the latest when the program ends.

It belongs to no executor, because an executor may be lost while its calls go on. No lock is taken
here: a signal handler, a finalizer or a callback may shut down what is being shut down.
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

from procorch.api.handle import Latch, is_ours
from procorch.pool import AgentPool

_FOR_EVER = 1e9
"""Seconds."""

_open: set[Closing] = set()


class Closing:
    """Sees one pool to its end.

    Attributes:
        begun: no more calls are taken.
        cancelled: what has not begun is not wanted any more.
        over: the workers have gone.
    """

    _is_ours = staticmethod(is_ours)  # A finalizer may ask when the module has no names any more.

    def __init__(self, pool: AgentPool) -> None:
        self.begun: bool = False
        self.cancelled: bool = False
        self.over: bool = False
        self._pool = pool
        self._pieces: set[Any] = set()
        self._inputs: set[Any] = set()
        self._quiet: deque[Latch] = deque()
        self._owner = os.getpid()
        _finish_at_exit(self)

    @property
    def ours(self) -> bool:
        """Whether this process has started the workers, and is no fork of that."""
        return self._is_ours(self._owner)

    def expect(self, piece: object) -> None:
        """A part of a ``map`` is under way: its calls may have to be sent again."""
        self._pieces.add(piece)

    def came(self, piece: object) -> None:
        """That part is finished. It is taken out first and the latches are looked at second;
        who waits leaves a latch first and looks at the parts second."""
        self._pieces.discard(piece)
        self._look()

    def expect_input(self, feed: object) -> None:
        """The first calls of a ``map`` are still being read: a shutdown waits for them, too."""
        self._inputs.add(feed)

    def input_came(self, feed: object) -> None:
        """They have been sent, or are not waited for any more."""
        self._inputs.discard(feed)
        self._look()

    def accepts(self, feed: object) -> bool:
        """Whether what a ``map`` has read is still to be called."""
        return not self.begun or feed in self._inputs

    def _busy(self) -> bool:
        return bool(self._pieces or self._inputs)

    def _look(self) -> None:
        while not self._busy() and self._quiet:
            with contextlib.suppress(IndexError):
                self._quiet.popleft().open()

    def shutdown(self, *, wait: bool, cancel: bool) -> None:
        """Take no more calls; end the workers when the others are done."""
        self.begun = True
        if cancel:
            self.cancelled = True
            self._inputs.clear()
            self._look()
            self._pool.queue.withdraw_waiting()
        if wait and self._pool.queue.may_wait():
            self.finish()
        elif not self.over:
            # A daemon thread, so that a Ctrl-C need not wait for it; a program that ends regularly
            # does (`_finish_all`), and sees to the rest where no thread can be started any more.
            with contextlib.suppress(RuntimeError):
                threading.Thread(target=self.finish, name="procorch-shutdown", daemon=True).start()

    def finish(self) -> None:
        """Wait for the calls, then end the workers; Ctrl-C ends both."""
        self.begun = True
        try:
            while self._busy():
                latch = Latch()
                self._quiet.append(latch)
                if self._busy():
                    latch.wait()
            self._pool.close(timeout=_FOR_EVER)
        except BaseException:
            self.abort()
            raise
        self._end()

    def abort(self, timeout: float = 30.0) -> None:
        """End the workers and whatever they do, within about ``timeout`` seconds."""
        self.begun = self.cancelled = True
        self._pool.close(drain=False, timeout=timeout)
        self._end()

    def _end(self) -> None:
        self.over = True
        _open.discard(self)


def _finish_at_exit(closing: Closing) -> None:
    """Have an interpreter that exits wait for the calls, as with the standard library's.

    The hook is registered after that of `runtime.lifetime`, which would abort them, and so runs
    before it.
    """
    if not _open:
        atexit.unregister(_finish_all)
        atexit.register(_finish_all)
        _let_go_in_forks()
    _open.add(closing)


@cache
def _let_go_in_forks() -> None:
    """What is open is the parent's to finish; no thread here could."""
    os.register_at_fork(after_in_child=_open.clear)


def _finish_all() -> None:
    # ``last_value`` is an exception that nobody has handled: at a prompt, any earlier one.
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
