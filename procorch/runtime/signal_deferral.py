"""Defers the handlers of signals while a thread of the user acts as the monitor.

A handler that raises (Ctrl-C) could stop a step of the machine halfway. Python calls handlers in
the main thread only, so nothing is deferred in other threads.
"""

from __future__ import annotations

import threading

# The functions of `signal` take 2 us each, these 0.1: they make no enumerations of the numbers.
from _signal import NSIG, getsignal, signal  # type: ignore[import-not-found]
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], Any]

_SIGNALS = range(1, NSIG)
_MAIN = threading.main_thread().ident


class SignalDeferral:
    """Handlers are deferred from `begin` to `end`, which calls them.

    To replace the handlers costs a system call for each. So a pause, while the owner waits, leaves
    them replaced: a signal that comes meanwhile has them restored first.

    Attributes:
        deferring: False makes a pause, True ends it; look at ``came`` after the one and at
            ``replaced`` after the other.
        came: the signals that were deferred. In a pause `end` handles them.
        replaced: whether handlers are replaced. If not, only `begin` defers them.
    """

    __slots__ = ("_handlers", "came", "deferring", "replaced")

    def __init__(self) -> None:
        self._handlers: dict[int, Handler] = {}
        self.came: list[tuple[int, FrameType | None]] = []
        self.replaced: bool = False
        self.deferring: bool = False

    def begin(self) -> None:
        """Defer handlers from here on; raises what a handler raises that was not deferred yet."""
        self.deferring = True
        if not self.replaced and threading.get_ident() == _MAIN:
            self._handlers = _handlers()
            self.replaced = True
            try:
                for signum in self._handlers:
                    signal(signum, self._note)
            except BaseException:
                self.end()
                raise

    def end(self) -> None:
        """Call the handlers that were deferred, and restore all; idempotent."""
        self.deferring = False
        if self.replaced:
            self.replaced = False
            for signum, handler in self._handlers.items():
                signal(signum, handler)
        if self.came:
            self._handle()

    def _handle(self) -> None:
        if self.came:
            signum, frame = self.came.pop(0)
            try:
                self._handlers[signum](signum, frame)
            finally:
                self._handle()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.came.append((signum, frame))
        if not self.deferring:
            # In a pause, or `end` did not restore this handler because another one raised there.
            self.end()


_known: tuple[tuple[object, ...], dict[int, Handler]] = ((), {})


def _handlers() -> dict[int, Handler]:
    """The handlers that are written in Python, by signal."""
    global _known
    now = tuple(map(getsignal, _SIGNALS))
    if now != _known[0]:  # handlers change rarely
        _known = now, {n: each for n, each in zip(_SIGNALS, now, strict=True) if callable(each)}
    return _known[1]
