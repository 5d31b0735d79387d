"""A `concurrent.futures.Future` that is settled without a lock; it makes its condition when needed.

One step of Python's decides between the outcome and a cancellation: ``setdefault`` of
``_ended_by``. The
state is written next, and waiting threads are looked for last (`wake_waiting`). A thread
that is going to wait, or to add a callback, makes the condition of the future first and reads the
state second; so one of the two always sees the other. Most futures are settled before any thread
waits, and never have a condition.
"""

from __future__ import annotations

import concurrent.futures
import threading
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED
from typing import Any, Generic, TypeVar

_LOCK_TIMEOUT = 0.005
"""Seconds for which the thread that settles a future waits for the lock of the future."""

_CANCELLED = (CANCELLED, CANCELLED_AND_NOTIFIED)
_DONE = (FINISHED, *_CANCELLED)

_T = TypeVar("_T")


class LockFreeFuture(concurrent.futures.Future[_T], Generic[_T]):
    """See the docstring of this module; else like the standard library's.

    Attributes:
        on_end: called on the thread that ends the future, before the callbacks; it must neither
            block nor raise.
    """

    on_end: Callable[[], None] | None = None

    _state: str
    _waiters: list[Any]
    _done_callbacks: list[Callable[[Any], object]]
    _exception: BaseException | None
    _result: _T | None
    _lazy_condition: threading.Condition | None = None

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        """What the methods of the standard library lock and wait for."""
        condition = self._lazy_condition
        if condition is None:
            condition = self.__dict__.setdefault("_lazy_condition", threading.Condition())
        return condition

    def done(self) -> bool:
        """Whether the outcome is fixed, or the future cancelled."""
        return self._state in _DONE

    def cancelled(self) -> bool:
        """Whether the future was cancelled."""
        return self._state in _CANCELLED

    def wake_waiting(self, condition: threading.Condition) -> None:
        """Wake the threads that wait for the future, and call its callbacks.

        Args:
            condition: the future's. Where it has none no thread waits, and there is no callback.
        """
        if condition.acquire(timeout=_LOCK_TIMEOUT):
            try:
                self._wake_waiters(condition)
            finally:
                condition.release()
            self._invoke_callbacks()
        else:
            # The thread that holds the lock may have been interrupted by a signal handler or a
            # finalizer that waits for something only this thread can bring.
            threading.Thread(target=self._wake_later, args=(condition,), daemon=True).start()

    def _wake_waiters(self, condition: threading.Condition) -> None:
        for waiter in self._waiters:
            if self._state in _CANCELLED:
                waiter.add_cancelled(self)
            elif self._exception is not None:
                waiter.add_exception(self)
            else:
                waiter.add_result(self)
        condition.notify_all()

    def _wake_later(self, condition: threading.Condition) -> None:
        with condition:
            self._wake_waiters(condition)
        self._invoke_callbacks()

    @abstractmethod
    def _invoke_callbacks(self) -> None:
        """Call what `add_done_callback` was given."""

    def renounce(self, error: BaseException) -> None:
        """Fail in the child of a fork, where threads that hold a lock of it do not exist."""
        self._lazy_condition = threading.Condition()
        self._waiters = []
        self._done_callbacks = []
        self._exception = error
        self._state = FINISHED
