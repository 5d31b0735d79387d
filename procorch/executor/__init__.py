"""The standard library's interface over a pool of agents."""

from __future__ import annotations

import concurrent.futures
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from procorch.errors import MessageTooLarge, SerializationError, StartError
from procorch.executor import feeding, mapping
from procorch.executor.call import Call, caller
from procorch.executor.closing import Closing
from procorch.executor.contexts import initializer_of, start_method
from procorch.executor.errors import broken_by, translated
from procorch.executor.future import CallFuture
from procorch.pool import AgentPool, PoolInfo, PoolSettings
from procorch.pool.input_reader import NEVER_WAITS
from procorch.units import whole

_ANY = 1 << 30
"""So many calls may wait: `submit` does not wait for a place, as in the standard library."""

T = TypeVar("T")
P = ParamSpec("P")


class AgentExecutor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor` of processes that survives the death of its workers.

    What `concurrent.futures.ProcessPoolExecutor` promises, and beyond: a worker that dies fails its
    own future (with an `AgentCrashed` that is also a ``BrokenProcessPool``) and is replaced;
    ``future.cancel()`` ends a call that runs; a call may have a timeout; lambdas, closures and
    functions of ``__main__`` can be called. Leaving its block by Ctrl-C ends the calls.

    Args:
        max_workers: number of processes; None: one a core.
        mp_context: a context of `multiprocessing`: that of "spawn" starts each worker as a fresh
            interpreter, others fork it from a clean process. None: see `AgentOrchestrator`.
        initializer: called with ``initargs`` in each worker at every start. If it fails, the
            executor is broken: `submit` and `map` say why.
        max_tasks_per_child: calls after which a worker is replaced; None: never.
        name: the workers' name in errors and events.
        settings: see `AgentPool`: ``memory_limit``, ``request_timeout``, ``warm_spares``,
            ``retries``, ...

    Raises:
        SerializationError: the initializer or its arguments cannot be serialised.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        name: str = "executor",
        **settings: Unpack[PoolSettings],
    ) -> None:
        self._closing: Closing | None = None
        self._shut_down = False
        self._broken: BaseException | None = None
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        count = 1 if max_workers is None else whole(max_workers, "max_workers", least=-_ANY)
        if not 0 < count <= _ANY:
            raise ValueError(f"max_workers must be greater than 0 and at most {_ANY}")
        if max_tasks_per_child is not None:
            whole(max_tasks_per_child, "max_tasks_per_child", least=1)
        if mp_context is not None:
            settings = {"start_method": start_method(mp_context), **settings}
        self._name = name
        self._max_workers = max_workers or os.cpu_count() or 1  # dask and others look at it
        settings = {
            "channel_buffer": _ANY,
            "max_requests": max_tasks_per_child,
            "throttle": None,
            **settings,
        }
        try:
            self._pool = AgentPool(
                caller(*initializer_of(initializer, tuple(initargs))),
                self._max_workers,
                name=name,
                **settings,
            )
        except StartError as error:
            # It is in the log. The standard library's starts its workers later, and says so then.
            self._broken = translated(error)
        else:
            self._queue = self._pool.queue
            self._closing = Closing(self._pool)

    @overload
    def submit(
        self, fn: Callable[..., T], /, *args: Any, timeout: float | str | None, **kwargs: Any
    ) -> CallFuture[T]: ...
    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> CallFuture[T]: ...
    def submit(  # type: ignore[misc]  # a call whose function has a `timeout` of its own
        self,
        fn: Callable[..., T],
        /,
        *args: Any,
        timeout: float | str | None = None,
        **kwargs: Any,
    ) -> CallFuture[T]:
        """Have ``fn(*args, **kwargs)`` called in a worker.

        A call that cannot be serialised fails the future with a `SerializationError`, which is also
        a ``PicklingError`` and names the path inside the call.

        Args:
            timeout: seconds the call may take, from the moment a worker gets it (`RequestTimeout`);
                None: the executor's ``request_timeout``. To hand a ``timeout`` to ``fn`` itself use
                ``functools.partial(fn, timeout=...)``.

        Raises:
            RuntimeError: the executor is shut down.
            BrokenProcessPool: its workers do not start, or have ended for good; the text says why.
        """
        if not callable(fn):
            raise TypeError(f"fn must be a callable, not {type(fn).__name__}")
        self._must_be_open()
        try:
            future = self._queue.deliver_as(CallFuture, Call(fn, args, kwargs), timeout=timeout)
        except (SerializationError, MessageTooLarge) as error:
            return self._queue.failed_as(CallFuture, error)
        if self._shut_down:
            # Since it was looked at, serialising the call has run code of the user's. What was
            # handed in before the shutdown was accepted; nobody can tell which came first.
            future.cancel()
            self._must_be_open()
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Like the built-in ``map``: ``fn`` called with an item of each of the iterables.

        Calls begin now, and all of them are made whether or not the results are read. Leaving the
        iterator after reading from it cancels those that are not done.

        Args:
            timeout: seconds from now on after which waiting for a result is a ``TimeoutError``.
            chunksize: calls that travel as one; each fails alone all the same (``docs/pools.md``).
            buffersize: how many chunks may be under way or wait to be taken; the iterables are then
                taken as the results are and may be endless, slow, or wait for results themselves:
                those that are no lists or the like are read on a thread, and what they raise comes
                after the results. None: all of them are taken now.

        Raises:
            RuntimeError: the executor is shut down.
            BrokenProcessPool: its workers do not start, or have ended for good; the text says why.
        """
        whole(chunksize, "chunksize", least=1)
        window = None if buffersize is None else whole(buffersize, "buffersize", least=1)
        end = None if timeout is None else time.monotonic() + timeout
        if not callable(fn):
            raise TypeError(f"fn must be a callable, not {type(fn).__name__}")
        self._must_be_open()
        assert self._closing is not None
        try:
            several = len(iterables) != 1
            sender = mapping.Sender(fn, self._queue, self._closing, several=several)
        except SerializationError as error:
            return mapping.failing(error)
        calls: Iterator[Any] = zip(*iterables, strict=False) if several else iter(iterables[0])
        if window is not None and not all(isinstance(given, NEVER_WAITS) for given in iterables):
            return feeding.results(calls, sender, chunksize, window, end)
        return mapping.results(calls, sender, chunksize, window, end)

    def info(self) -> PoolInfo:
        """The executor's workers as they are now.

        Raises:
            BrokenProcessPool: they do not start.
        """
        self._must_be_ours()
        if self._closing is None and self._broken is not None:
            raise self._broken
        return self._pool.info()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; end the workers when those that were taken are done.

        Args:
            wait: return when the workers have gone; False: at once.
            cancel_futures: cancel the calls that have not begun, those of a `map` included.
        """
        self._must_be_ours()
        self._shut_down = True
        if self._closing is not None:
            self._closing.shutdown(wait=wait, cancel=cancel_futures)

    def terminate_workers(self) -> None:
        """Take no more calls, end those that run, and wait until the workers have gone; what has no
        outcome gets `Aborted`."""
        self._must_be_ours()
        self._shut_down = True
        if self._closing is not None:
            self._closing.abort()

    def kill_workers(self) -> None:
        """Like `terminate_workers`, by SIGKILL and at once."""
        self._must_be_ours()
        self._shut_down = True
        if self._closing is not None:
            self._closing.abort(timeout=0.0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        if kind is not None and self._closing is not None and not self._closing.ours:
            return  # of a fork, most likely SystemExit: it goes on undisturbed
        if kind is not None and issubclass(kind, _interrupts()):
            self.terminate_workers()
        else:
            self.shutdown(wait=True)

    def _must_be_ours(self) -> None:
        if self._closing is not None:
            self._queue.must_be_ours()

    def _must_be_open(self) -> None:
        self._must_be_ours()
        if self._broken is None and self._closing is not None and not self._shut_down:
            failure = self._pool.failure()
            if failure is not None:
                self._broken = broken_by(failure, self._name)
        if self._broken is not None:
            raise self._broken.with_traceback(None)
        if self._shut_down or (self._closing is not None and self._closing.begun):
            raise RuntimeError("cannot schedule new futures after shutdown")

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # At the end of the interpreter everything is closed already, and modules have no names.
        if finalizing() or getattr(self, "_shut_down", True):
            return
        if self._closing is None or self._closing.ours:
            self.shutdown(wait=False)

    def __repr__(self) -> str:
        return f"<AgentExecutor {self._name!r} workers={self._max_workers}>"


def _interrupts() -> tuple[type[BaseException], ...]:
    """Ctrl-C, and what a task of asyncio gets in its place."""
    asyncio = sys.modules.get("asyncio")
    return (KeyboardInterrupt,) if asyncio is None else (KeyboardInterrupt, asyncio.CancelledError)
