"""Callbacks of futures are the user's code: whatever one raises is logged, and the next one runs.

The standard library lets what is no ``Exception`` out of them. On the callback thread that would
cost the other callbacks; a ``KeyboardInterrupt`` would look like a Ctrl-C to whoever adds a
callback to a finished future. A real Ctrl-C is told from it by its signal, and gets out.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Self

_log = logging.getLogger("concurrent.futures")


def call_all(callbacks: Iterable[Callable[[Any], object]], future: object) -> None:
    """Call them in their order, on a thread of procorch's."""
    for callback in callbacks:
        try:
            callback(future)
        except BaseException:
            _log_failure(future)


def guarded(callback: Callable[[Any], object]) -> Callable[[Any], object]:
    """``callback``, whose errors are logged; see the head of this module."""

    def call(future: object) -> None:
        with _CtrlC() as ctrl_c:
            try:
                callback(future)
            except Exception:
                _log_failure(future)
            except KeyboardInterrupt:
                if ctrl_c.came:
                    raise
                _log_failure(future)

    return call


def _log_failure(future: object) -> None:
    _log.exception("exception calling callback for %r", future)


class _CtrlC:
    """Notes whether a Ctrl-C comes while it is entered, which only the main thread hears."""

    def __init__(self) -> None:
        self.came = False
        self._handler: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                self._handler = handler
                signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.came = True
        self._handler(signum, frame)

    def __exit__(self, *error: object) -> None:
        if self._handler is not None and signal.getsignal(signal.SIGINT) == self._note:
            signal.signal(signal.SIGINT, self._handler)
