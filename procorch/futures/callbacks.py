"""Callbacks of futures run the user's code: what one raises is logged, and the next one runs.

The standard library catches only ``Exception``. On the callback thread any other exception would
prevent the callbacks that follow; a ``KeyboardInterrupt`` raised by a callback would look like a
Ctrl-C to the thread that adds a callback to a finished future. A real Ctrl-C is recognised by its
signal, and is raised.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Self

_log = logging.getLogger("concurrent.futures")


class Notification:
    """A callback of procorch among those of the user: it runs on the thread that ends the future.

    It must neither block nor raise.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def __call__(self, future: object) -> None:
        self._call()


def call_all(callbacks: Iterable[Callable[[Any], object]], future: object) -> None:
    """Call them in their order, on the orchestrator's callback thread."""
    for callback in callbacks:
        try:
            callback(future)
        except BaseException:
            _log_failure(future)


def guarded(callback: Callable[[Any], object]) -> Callable[[Any], object]:
    """``callback``, whose errors are logged; see the docstring of this module."""

    def call(future: object) -> None:
        with _CtrlC() as ctrl_c:
            try:
                callback(future)
            except Exception:
                _log_failure(future)
            except KeyboardInterrupt:
                if ctrl_c.received:
                    raise
                _log_failure(future)

    return call


def _log_failure(future: object) -> None:
    _log.exception("exception calling callback for %r", future)


class _CtrlC:
    """Notes whether a Ctrl-C arrives while it is entered. Only the main thread receives one."""

    def __init__(self) -> None:
        self.received = False
        self._handler: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                self._handler = handler
                signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.received = True
        self._handler(signum, frame)

    def __exit__(self, *error: object) -> None:
        if self._handler is not None and signal.getsignal(signal.SIGINT) == self._note:
            signal.signal(signal.SIGINT, self._handler)
