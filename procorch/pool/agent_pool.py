"""The pool: its settings, its workers, and its end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Unpack, overload

from procorch.agents.protocols import AsyncFactory, Factory, In
from procorch.api.context_manager import ClosedOnExit
from procorch.api.orchestrator import AgentOrchestrator
from procorch.api.pool_handle import PoolHandle
from procorch.errors import AgentStopped
from procorch.futures.reply import ReplyFuture
from procorch.futures.watch import EventStream
from procorch.messages import Out
from procorch.pool.mapping import MapMethods, Mapper
from procorch.pool.replicas import PoolInfo, Replicas
from procorch.supervision.keywords import CommonSettings
from procorch.supervision.policy import Policy, PoolSupervisor
from procorch.supervision.settings import AgentSettings
from procorch.supervision.throttle import Throttle
from procorch.units import whole

if TYPE_CHECKING:
    from procorch.launch.ray.backend import RayBackend

RECYCLE_JITTER = 0.1
"""The default ``recycle_jitter`` of a pool, since all workers of a pool start at once."""


class PoolSettings(CommonSettings, total=False):
    """What `AgentPool` takes beside its factory, its number of workers and its name."""

    supervisor: Policy | None
    warm_spares: int
    max_message: int | str
    preload: Sequence[str]
    start_method: str | None
    seed: int | None
    backend: str | RayBackend | None


class AgentPool(ClosedOnExit, MapMethods[In, Out]):
    """Workers that run the same agent, each in its own process, and take items from one queue.

    A worker that dies fails the item it had, and is replaced. An agent that raises keeps its
    process. A death during an item does not count against the restart limits; failed starts and
    deaths of idle workers do. A context manager (also asynchronous): leaving the block closes it.
    All methods are safe to call from any thread.

    Args:
        factory: see `AgentOrchestrator.add_agent`. It runs in each worker at every start, so each
            worker has an agent of its own. Items are delivered to the agent unchanged.
        workers: number of processes; None: one for each core. Each works on one item at a time, or
            on as many as the setting ``concurrency`` says.
        supervisor: another policy in place of the pool's own.
        name: the name of the workers in errors and events.
        warm_spares: number of further workers that are started and wait. One of them takes over
            when a worker dies or is recycled.
        max_message, preload, start_method, seed, backend: see `AgentOrchestrator`. The default of
            ``workers`` is the number of cores of this machine also for a cluster.
        settings: see `procorch.supervision.keywords.Settings`. The default of ``recycle_jitter`` in
            a pool is 0.1, that of ``throttle`` is ``Throttle()``: if a service asks for a pause,
            all workers of the pool pause, and the item is tried again.

    Raises:
        StartError: the workers cannot be started.

    Example:
        >>> def worker():
        ...     return lambda number: number * number
        >>> with AgentPool(worker, workers=1) as pool:
        ...     print(pool.map([1, 2, 3]))
        [1, 4, 9]
    """

    @overload
    def __init__(
        self, factory: AsyncFactory[In, Out], workers: int | None = None, *, name: str = "pool",
        **settings: Unpack[PoolSettings],
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self, factory: Factory[In, Out], workers: int | None = None, *, name: str = "pool",
        **settings: Unpack[PoolSettings],
    ) -> None: ...  # fmt: skip
    @overload
    def __init__(
        self: AgentPool[Any, Any], factory: Callable[[], Any], workers: int | None = None, *,
        name: str = "pool", **settings: Unpack[PoolSettings],
    ) -> None: ...  # fmt: skip
    def __init__(
        self,
        factory: Callable[[], Any],
        workers: int | None = None,
        *,
        supervisor: Policy | None = None,
        name: str = "pool",
        warm_spares: int = 0,
        max_message: int | str = "1G",
        preload: Sequence[str] = (),
        start_method: str | None = None,
        seed: int | None = None,
        backend: str | RayBackend | None = None,
        **settings: Unpack[CommonSettings],
    ) -> None:
        AgentSettings.must_suit_a_pool(settings)
        count = _worker_count((os.cpu_count() or 1) if workers is None else workers)
        spares = whole(warm_spares, "warm_spares")
        concurrency = AgentSettings.of(settings).concurrency
        self._orchestrator = AgentOrchestrator(
            supervisor=PoolSupervisor() if supervisor is None else supervisor,
            channel_buffer=max(32, 2 * count * concurrency),
            max_message=max_message,
            preload=preload,
            start_method=start_method,
            seed=seed,
            backend=backend,
        )
        settings = {
            "charge_requests": True,
            "recycle_jitter": RECYCLE_JITTER,
            "throttle": Throttle(),
            **settings,
        }
        self._orchestrator.add_agent(name, factory, instances=count + spares, **settings)
        try:
            self._replicas = Replicas(self._orchestrator, name, count, spares, concurrency)
        except BaseException:
            self._orchestrator.close(drain=False)
            raise
        self._name = name
        self._closed = False
        self._mapper = Mapper(
            self._replicas.queue, settings, lambda: self._replicas.window, self._must_be_open
        )

    @property
    def queue(self) -> PoolHandle:
        """A handle for all workers: a request sent to it goes to the first worker that is free."""
        return self._replicas.queue

    # ---- one item

    def submit(
        self,
        item: In,
        *,
        timeout: float | str | None = None,
        retries: int | None = None,
        priority: int = 0,
    ) -> ReplyFuture[Out]:
        """Send one item to the first worker that is free.

        Args:
            timeout: seconds from the moment a worker gets the item; None: the pool's
                ``request_timeout``.
            retries: how often the item is tried again after its worker died; None: the pool's
                ``retries``.
            priority: of the waiting items those with the highest priority go first; items with
                equal priority go in the order in which they were sent.

        Returns:
            A future of an `AgentResult`. It can be awaited, too.

        Raises:
            SerializationError: the item cannot be serialised, with the path inside it.
            MessageTooLarge: it is larger than ``max_message``.
            AgentStopped: the pool is closed.
        """
        self._must_be_open()
        return self._replicas.queue.deliver(
            item, timeout=timeout, retries=retries, priority=priority
        )

    # ---- the workers

    def resize(self, workers: int) -> None:
        """Change the number of workers; returns when new ones are ready.

        Workers beyond the new number finish their items and end; waiting items go to the others.
        Workers that have ended for good are replaced.

        Args:
            workers: number of processes.

        Raises:
            StartError: new workers cannot be started; nothing is changed.
        """
        self.must_be_ours()
        self._replicas.resize(_worker_count(workers))

    def info(self) -> PoolInfo:
        """The pool and its workers as they are now."""
        self.must_be_ours()
        return self._replicas.info()

    def events(self, *, requests: bool = True) -> EventStream:
        """Events of all workers from now on; see `AgentOrchestrator.events`."""
        return self._orchestrator.events(requests=requests)

    # ---- the end

    def _must_be_open(self) -> None:
        self.must_be_ours()
        if self._closed:
            raise AgentStopped(agent=self._name, reason="the pool is closed")

    def failure(self) -> BaseException | None:
        """The error that ended the last worker, if all workers have ended for good."""
        return self._replicas.failure()

    def close(self, *, drain: bool = True, timeout: float = 30.0) -> None:
        """End all workers; see `AgentOrchestrator.close`.

        The pool takes no more items. While it finishes what was accepted, it still replaces workers
        that die, and those that have reached ``max_requests``.
        """
        self.must_be_ours()
        self._closed = True
        end = time.monotonic() + timeout
        if drain:
            try:
                self._orchestrator.await_quiet(timeout)
            except BaseException:  # Ctrl-C
                self._orchestrator.close(drain=False, timeout=timeout)
                raise
        self._orchestrator.close(drain=drain, timeout=max(0.0, end - time.monotonic()))

    def must_be_ours(self) -> None:
        """See `AgentOrchestrator.must_be_ours`."""
        self._orchestrator.must_be_ours()

    def leave(self, kind: type[BaseException] | None) -> bool:
        """See `ClosedOnExit.leave`."""
        return self._orchestrator.leave(kind)

    def __repr__(self) -> str:
        workers = 0 if self._closed else self._replicas.workers
        return f"<AgentPool name={self._name!r} {workers=}>"


def _worker_count(given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ValueError(f"workers must be a whole number of 1 or more, not {given!r}")
    return given
