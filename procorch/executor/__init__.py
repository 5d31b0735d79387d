"""The standard library's interface over a pool of agents."""

from __future__ import annotations

import atexit
import concurrent.futures
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from procorch.errors import AgentError, StartError
from procorch.executor.call import Begin, Call, caller
from procorch.executor.errors import translated
from procorch.executor.future import CallFuture
from procorch.handle import Broken, ChunkReply
from procorch.pool import AgentPool, PoolInfo
from procorch.pool.results import Results
from procorch.pool.shapes import Outputs, Raise
from procorch.pool.sizes import Fixed
from procorch.units import whole

_ANY = 1 << 30
"""So many calls may wait: `submit` does not wait for a place, as in the standard library."""
_FOR_EVER = 1e9
"""Seconds."""


class AgentExecutor(concurrent.futures.Executor):
    """A `concurrent.futures.Executor` of processes that survives the death of its workers.

    What `concurrent.futures.ProcessPoolExecutor` promises, and beyond: a worker that dies fails its
    own future (with an `AgentCrashed` that is also a ``BrokenProcessPool``) and is replaced;
    ``future.cancel()`` ends a call that runs; a call may have a timeout; lambdas, closures and
    functions of ``__main__`` can be called.

    Args:
        max_workers: number of processes; None: one a core.
        initializer: called with ``initargs`` in each worker at every start.
        max_tasks_per_child: calls after which a worker is replaced; None: never.
        name: the workers' name in errors and events.
        settings: see `AgentPool`: ``memory_limit``, ``request_timeout``, ``warm_spares``,
            ``retries``, ...

    Raises:
        StartError: the workers do not start, or the initializer raises; it is also a
            ``BrokenProcessPool``.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        name: str = "executor",
        **settings: Any,
    ) -> None:
        self._closed = True  # until there is something to close
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_workers is not None and whole(max_workers, "max_workers", least=1) > _ANY:
            raise ValueError(f"max_workers must be {_ANY} or less")
        settings = {"channel_buffer": _ANY, "max_requests": max_tasks_per_child, **settings}
        try:
            self._pool = AgentPool(
                caller(initializer, tuple(initargs)),
                max_workers or os.cpu_count() or 1,
                name=name,
                **settings,
            )
        except StartError as error:
            raise translated(error) from error
        self._queue = self._pool.queue
        self._lock = threading.Lock()
        self._futures: weakref.WeakSet[CallFuture] = weakref.WeakSet()
        self._closed = False
        _finish_at_exit(self)

    def submit(  # type: ignore[override]  # a keyword more, and a future of our own
        self,
        fn: Callable[..., Any],
        /,
        *args: Any,
        timeout: float | str | None = None,
        **kwargs: Any,
    ) -> CallFuture:
        """Have ``fn(*args, **kwargs)`` called in a worker.

        Args:
            timeout: seconds the call may take, from the moment a worker gets it (`RequestTimeout`);
                None: the executor's ``request_timeout``. To hand a ``timeout`` to ``fn`` itself use
                ``functools.partial(fn, timeout=...)``.

        Raises:
            RuntimeError: the executor is shut down.
            SerializationError: the call cannot be serialised, with the path inside it.
        """
        if not callable(fn):
            raise TypeError(f"fn must be a callable, not {type(fn).__name__}")
        with self._lock:
            self._must_be_open()
            future = self._queue.deliver_as(CallFuture, Call(fn, args, kwargs), timeout=timeout)
            self._futures.add(future)
        return future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Like the built-in ``map``: ``fn`` called with an item of each of the iterables.

        Calls begin now. Leaving the iterator early cancels those that are not done.

        Args:
            timeout: seconds from now on after which waiting for a result is a ``TimeoutError``.
            chunksize: calls that travel as one; each fails alone all the same (``docs/pools.md``).
            buffersize: how many chunks may be under way or wait to be taken; the iterables are then
                taken as the results are and may be endless. None: all of them are taken now.

        Raises:
            RuntimeError: the executor is shut down.
            SerializationError: ``fn`` cannot be serialised, with the path inside it.
        """
        whole(chunksize, "chunksize", least=1)
        window = _ANY if buffersize is None else whole(buffersize, "buffersize", least=1)
        end = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            self._must_be_open()
        if not callable(fn):
            raise TypeError(f"fn must be a callable, not {type(fn).__name__}")
        results = Results(
            zip(*iterables, strict=False),
            _Calls(self._pool, Begin.with_(fn)),
            lambda: window,
            Fixed(chunksize),
            _Returned(),
            ordered=True,
        )
        return _taken(results.start(), end)

    def info(self) -> PoolInfo:
        """The executor's workers as they are now."""
        return self._pool.info()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; end the workers when those that were taken are done.

        Args:
            wait: return when the workers have gone; False: at once.
            cancel_futures: cancel the calls that have not begun.
        """
        with self._lock:
            self._closed = True
            waiting = [each for each in self._futures if not (each.running() or each.done())]
        if cancel_futures:
            for future in waiting:
                future.cancel()
        if wait:
            self._pool.close(timeout=_FOR_EVER)
        else:
            # Not a daemon: the interpreter waits for it, as it waits for the calls.
            threading.Thread(
                target=self._pool.close, kwargs={"timeout": _FOR_EVER}, name="procorch-shutdown"
            ).start()

    def _must_be_open(self) -> None:
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def __del__(self) -> None:
        if not self._closed:
            self.shutdown(wait=False)

    def __repr__(self) -> str:
        return f"<AgentExecutor {self._pool!r}>"


class _Calls:
    """Sends calls of one function; see `pool.batches.Sender`."""

    def __init__(self, pool: AgentPool, begin: Begin) -> None:
        self._queue = pool.queue
        self._begin = begin

    def one(self, item: Any) -> ChunkReply:
        return self.chunk([item])

    def chunk(self, items: list[Any]) -> ChunkReply:
        return self._queue.deliver_chunk([self._begin, *items], lead=1)


class _Returned(Outputs):
    """What a function returned as it is; what it raised is raised."""

    def _of(self, output: Any) -> Any:
        return Raise(translated(output.error)) if type(output) is Broken else output

    def failed(self, index: int, error: AgentError) -> Any:
        return Raise(translated(error))


def _taken(results: Results, end: float | None) -> Iterator[Any]:
    try:
        while True:
            try:
                value = results.next(None if end is None else end - time.monotonic())
            except StopIteration:
                return
            yield value
    finally:
        results.close()


_open: weakref.WeakSet[AgentExecutor] = weakref.WeakSet()


def _finish_at_exit(executor: AgentExecutor) -> None:
    """Have an interpreter that exits wait for the calls, as with the standard library's.

    The hook is registered after that of `runtime.lifetime`, which would abort them, and so runs
    before it.
    """
    if not _open:
        atexit.unregister(_finish_all)
        atexit.register(_finish_all)
    _open.add(executor)


def _finish_all() -> None:
    for executor in list(_open):
        executor.shutdown()
