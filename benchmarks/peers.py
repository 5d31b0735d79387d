"""Other libraries that run functions in processes, behind one face.

Each is used as its documentation shows it and with its own defaults (start method, pickler,
chunks), which is how a user meets it.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Function: TypeAlias = Callable[[Any], Any]


class Peer(Protocol):
    """A pool of processes."""

    def call(self, function: Function, item: Any) -> Any:
        """One call, waited for."""
        ...

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        """All calls handed in, then all results taken."""
        ...

    def map(self, function: Function, items: Sequence[int], chunksize: int | None = None) -> Any:
        """The results of all; without a ``chunksize`` with the peer's own."""
        ...


@dataclass(frozen=True)
class Kind:
    """A library: how a pool of some workers is opened, and the package it is in."""

    open: Callable[[int], AbstractContextManager[Peer]]
    needs: str | None = None


class _Executor:
    """`concurrent.futures` and what is built like it."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def call(self, function: Function, item: Any) -> Any:
        return self._executor.submit(function, item).result()

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        futures = [self._executor.submit(function, item) for item in items]
        return [future.result() for future in futures]

    def map(self, function: Function, items: Sequence[int], chunksize: int | None = None) -> Any:
        return list(self._executor.map(function, items, chunksize=chunksize or 1))


class _Pool:
    """`multiprocessing.Pool`, its forks, and mpire's, which has the same calls."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def call(self, function: Function, item: Any) -> Any:
        return self._pool.apply(function, (item,))

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        results = [self._pool.apply_async(function, (item,)) for item in items]
        return [result.get() for result in results]

    def map(self, function: Function, items: Sequence[int], chunksize: int | None = None) -> Any:
        return self._pool.map(function, items)


class _Pebble:
    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def call(self, function: Function, item: Any) -> Any:
        return self._pool.schedule(function, args=[item]).result()

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        futures = [self._pool.schedule(function, args=[item]) for item in items]
        return [future.result() for future in futures]

    def map(self, function: Function, items: Sequence[int], chunksize: int | None = None) -> Any:
        return list(self._pool.map(function, items, chunksize=chunksize or 1).result())


class _Ray:
    """Actors, which like agents keep their process."""

    def __init__(self, ray: Any, workers: int) -> None:
        class Actor:
            def call(self, function: Function, item: Any) -> Any:
                return function(item)

            def chunk(self, function: Function, items: Sequence[Any]) -> list[Any]:
                return [function(item) for item in items]

        remote = ray.remote(Actor)
        self._get = ray.get
        self._actors = [remote.remote() for _ in range(workers)]

    def call(self, function: Function, item: Any) -> Any:
        return self._get(self._actors[0].call.remote(function, item))

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        actor = self._actors[0]
        results: list[Any] = self._get([actor.call.remote(function, item) for item in items])
        return results

    def map(self, function: Function, items: Sequence[int], chunksize: int | None = None) -> Any:
        size = chunksize or 1
        starts = range(0, len(items), size)
        chunks = [
            self._actors[number % len(self._actors)].chunk.remote(function, items[at : at + size])
            for number, at in enumerate(starts)
        ]
        return [result for chunk in self._get(chunks) for result in chunk]


@contextmanager
def _process_pool_executor(workers: int) -> Iterator[Peer]:
    with concurrent.futures.ProcessPoolExecutor(workers) as executor:
        yield _Executor(executor)


@contextmanager
def _multiprocessing(workers: int) -> Iterator[Peer]:
    with multiprocessing.Pool(workers) as pool:
        yield _Pool(pool)


@contextmanager
def _multiprocess(workers: int) -> Iterator[Peer]:
    import multiprocess

    with multiprocess.Pool(workers) as pool:
        yield _Pool(pool)


@contextmanager
def _billiard(workers: int) -> Iterator[Peer]:
    import billiard

    with billiard.Pool(workers) as pool:
        yield _Pool(pool)


@contextmanager
def _pebble(workers: int) -> Iterator[Peer]:
    import pebble

    with pebble.ProcessPool(max_workers=workers) as pool:
        yield _Pebble(pool)


@contextmanager
def _loky(workers: int) -> Iterator[Peer]:
    import loky

    with loky.ProcessPoolExecutor(workers) as executor:
        yield _Executor(executor)


@contextmanager
def _mpire(workers: int) -> Iterator[Peer]:
    from mpire.pool import WorkerPool

    with WorkerPool(n_jobs=workers, keep_alive=True) as pool:
        yield _Pool(pool)


@contextmanager
def _ray(workers: int) -> Iterator[Peer]:
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield _Ray(ray, workers)
    finally:
        ray.shutdown()


EXECUTOR = "ProcessPoolExecutor"
POOL = "multiprocessing.Pool"

PEERS = {
    EXECUTOR: Kind(_process_pool_executor),
    POOL: Kind(_multiprocessing),
    "multiprocess.Pool": Kind(_multiprocess, "multiprocess"),
    "pebble": Kind(_pebble, "pebble"),
    "loky": Kind(_loky, "loky"),
    "mpire": Kind(_mpire, "mpire"),
    "billiard": Kind(_billiard, "billiard"),
    "ray": Kind(_ray, "ray"),
}
"""By the name under which they are shown."""
