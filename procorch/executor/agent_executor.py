"""An executor of the standard library's interface over a pool of agents."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from procorch.errors import MessageTooLarge, SerializationError, StartError
from procorch.executor import adaptive, feeding, mapping
from procorch.executor.call import Call, caller
from procorch.executor.closing import Closing
from procorch.executor.contexts import initializer_of, start_method
from procorch.executor.errors import broken_by, translated
from procorch.executor.future import CallFuture
from procorch.pool import AgentPool, PoolInfo, PoolSettings
from procorch.pool.chunk_sizes import AdaptiveSize, LastSize
from procorch.pool.input_reader import NEVER_WAITS
from procorch.units import whole

_ANY = 1 << 30
"""How many calls may wait: `submit` never waits for room, as in the standard library."""

T = TypeVar("T")
P = ParamSpec("P")


class AgentExecutor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor` of processes that survives the death of its workers.

    It does what `concurrent.futures.ProcessPoolExecutor` does, and more. A worker that dies fails
    only its own future (with an `AgentCrashed` that is also a ``BrokenProcessPool``) and is
    replaced. ``future.cancel()`` also ends a call that runs. A call may have a timeout. Lambdas,
    closures and functions of ``__main__`` can be called. Leaving its block by Ctrl-C ends the
    calls.

    Args:
        max_workers: number of processes; None: one for each core.
        mp_context: a context of `multiprocessing`. That of "spawn" starts each worker as a fresh
            interpreter, others fork it from a clean process. None: see `AgentOrchestrator`.
        initializer: called with ``initargs`` in each worker at every start. If it fails, `submit`
            and `map` raise ``BrokenProcessPool`` with the reason.
        max_tasks_per_child: number of calls after which a worker is replaced; None: never.
        name: the name of the workers in errors and events.
        settings: see `AgentPool`: ``memory_limit``, ``request_timeout``, ``warm_spares``,
            ``retries``, ...

    Raises:
        SerializationError: the initializer or its arguments cannot be serialised.

    Example:
        >>> with AgentExecutor(max_workers=1) as executor:
        ...     print(list(executor.map(pow, [2, 3], [5, 2])))
        [32, 9]
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
            # It is in the log. The standard library starts workers later, and raises then; so
            # `submit` and `map` raise it here.
            self._broken = translated(error)
        else:
            self._queue = self._pool.queue
            self._may_chunk = not (
                settings.get("request_timeout") or settings.get("retries")
                or settings.get("max_requests") or settings.get("rate")
            )  # fmt: skip
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
            timeout: seconds that the call may take, from the moment a worker gets it; then it fails
                with `RequestTimeout`. None: the executor's ``request_timeout``. To pass a
                ``timeout`` to ``fn`` itself, use ``functools.partial(fn, timeout=...)``.

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
            # Since the flag was read, serialising the call has run code of the user, which may have
            # called `shutdown`. Which came first cannot be known, so the call is refused.
            future.cancel()
            self._must_be_open()
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Like the built-in ``map``: ``fn`` called with an item of each of the iterables.

        Calls start at once, and all of them are made, even if no result is read. Closing the
        iterator after reading from it cancels the calls that are not done.

        Args:
            timeout: seconds from now until waiting for a result raises ``TimeoutError``.
            chunksize: number of calls that are sent as one request; each still fails alone
                (``docs/how-to/pools.md``). None: one call at a time at first, and more where calls
                take less than some milliseconds. 1: one call at a time, for calls that wait for
                each other or must not be made again when a worker dies during another call.
            buffersize: number of chunks that may be under way or wait to be read. The iterables are
                then read as results are read. They may be endless or slow, or wait for results
                themselves: unless they are lists or the like, a thread reads them, and what they
                raise is raised after the results. None: the iterables are read completely at once.

        Raises:
            RuntimeError: the executor is shut down.
            BrokenProcessPool: its workers do not start, or have ended for good; the text says why.
        """
        size = 1 if chunksize is None else whole(chunksize, "chunksize", least=1)
        window = None if buffersize is None else whole(buffersize, "buffersize", least=1)
        end = None if timeout is None else time.monotonic() + timeout
        if not callable(fn):
            raise TypeError(f"fn must be a callable, not {type(fn).__name__}")
        self._must_be_open()
        assert self._closing is not None
        unpack = len(iterables) != 1
        calls: Iterable[Any] = zip(*iterables, strict=False) if unpack else iterables[0]
        sizes, parts = None, 2 * self._max_workers
        if chunksize is None and window is None and self._may_chunk:
            calls = list(calls)
            if len(calls) > parts:
                sizes = AdaptiveSize(len(calls), parts, LastSize())
        try:
            sender = mapping.Sender(fn, self._queue, self._closing, unpack=unpack, sizes=sizes)
        except SerializationError as error:
            return mapping.failing(error)
        if isinstance(calls, list) and sizes is not None:
            with contextlib.suppress(SerializationError):  # each is sent alone, and one fails
                packed = sender.pack(calls)
                return adaptive.results(packed, sender, sizes, parts, end)
        if window is not None and not all(isinstance(given, NEVER_WAITS) for given in iterables):
            return feeding.results(iter(calls), sender, size, window, end)
        return mapping.results(calls, sender, size, window, end)

    def info(self) -> PoolInfo:
        """The workers at the moment.

        Raises:
            BrokenProcessPool: the workers could not be started.
        """
        self._must_be_ours()
        if self._closing is None and self._broken is not None:
            raise self._broken
        return self._pool.info()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; end the workers when the accepted calls are done.

        Args:
            wait: return when the workers have ended; False: return at once.
            cancel_futures: cancel the calls that no worker has, including those of a `map`. A
                worker may have up to 15 quick ones at hand, which are still made (``prefetch``).
        """
        self._must_be_ours()
        self._shut_down = True
        if self._closing is not None:
            self._closing.shutdown(wait=wait, cancel=cancel_futures)

    def terminate_workers(self) -> None:
        """Accept no more calls, end those that run, and wait until the workers have ended.

        Calls without an outcome fail with `Aborted`.
        """
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
            return  # in a fork; the exception, most likely SystemExit, goes on undisturbed
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
        # At the end of the interpreter everything is closed, and modules have lost their names.
        if finalizing() or getattr(self, "_shut_down", True):
            return
        if self._closing is None or self._closing.ours:
            self.shutdown(wait=False)

    def __repr__(self) -> str:
        return f"<AgentExecutor {self._name!r} workers={self._max_workers}>"


def _interrupts() -> tuple[type[BaseException], ...]:
    """The exceptions of Ctrl-C: `KeyboardInterrupt`, and what a task of asyncio gets instead."""
    asyncio = sys.modules.get("asyncio")
    return (KeyboardInterrupt,) if asyncio is None else (KeyboardInterrupt, asyncio.CancelledError)
