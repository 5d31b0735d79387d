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
from collections.abc import Callable
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import Any, Generic, TypeAlias, TypeVar

from procorch.futures import callbacks
from procorch.futures.callbacks import Notification

_LOCK_TIMEOUT = 0.005
"""Seconds for which the thread that settles a future waits for the lock of the future."""

_CANCELLED = (CANCELLED, CANCELLED_AND_NOTIFIED)
_DONE = (FINISHED, *_CANCELLED)

RunCallback: TypeAlias = Callable[[Callable[[], None]], None]
"""Runs a function on the orchestrator's callback thread."""

_T = TypeVar("_T")


class Lazy(Generic[_T]):
    """An attribute that is made when it is first read, once whatever threads read it.

    Args:
        make: makes its first value.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, obj: Any, owner: type) -> _T:
        # Python looks here only as long as the object has no value.
        made: _T = obj.__dict__.setdefault(self._name, self._make())
        return made


class LockFreeFuture(concurrent.futures.Future[_T], Generic[_T]):
    """See the docstring of this module; else like the standard library's.

    Attributes:
        on_end: called on the thread that ends the future, before the callbacks; it must neither
            block nor raise.
    """

    on_end: Callable[[], None] | None = None

    _run_callback: RunCallback

    # The constructor of the standard library would make a condition. Most futures need none of the
    # objects that are made here when they are needed.
    _state: str = PENDING
    _waiters: Lazy[list[Any]] | list[Any] = Lazy(list)
    _done_callbacks: Lazy[list[Any]] | list[Callable[[Any], object]] = Lazy(list)
    _exception: BaseException | None = None
    _result: _T | None = None
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

    def _invoke_callbacks(self) -> None:
        # Called on the thread that settles the future, usually the monitor's: the user's callbacks
        # are handed to the callback thread.
        if self._done_callbacks:
            users = []
            for callback in self._done_callbacks:
                if type(callback) is Notification:
                    callback(self)
                else:
                    users.append(callback)
            self._done_callbacks = users
            if users:
                self._run_callback(lambda: callbacks.call_all(users, self))

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Have ``fn`` called with this future when its outcome is fixed.

        Callbacks run on the orchestrator's callback thread, in the order in which they were added.
        If the outcome is fixed already, ``fn`` is called at once on this thread. What it raises is
        logged.
        """
        super().add_done_callback(fn if type(fn) is Notification else callbacks.guarded(fn))

    def renounce(self, error: BaseException) -> None:
        """Fail in the child of a fork, where threads that hold a lock of it do not exist."""
        self._lazy_condition = threading.Condition()
        self._waiters = []
        self._done_callbacks = []
        self._exception = error
        self._state = FINISHED
