"""Many of one agent behind one queue."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterable, Callable, Iterable, Sequence, Sized
from typing import Any, Generic, Literal, Unpack, overload

from procorch.agents.protocols import AsyncFactory, Factory, In
from procorch.api.context_manager import ClosedOnExit
from procorch.api.handle import ChunkReply, OrchestratedHandle, ReplyFuture
from procorch.api.orchestrator import AgentOrchestrator, EventStream
from procorch.errors import AgentStopped
from procorch.messages import Out
from procorch.pool.outcome import Failure as Failure
from procorch.pool.outcome import Outcome as Outcome
from procorch.pool.outcome import Success as Success
from procorch.pool.replicas import PoolInfo as PoolInfo
from procorch.pool.replicas import Replicas
from procorch.pool.results import Results
from procorch.pool.shapes import Outcomes, Outputs
from procorch.pool.sizes import Fixed, Measured, Pace, Sizes
from procorch.supervision.keywords import Settings
from procorch.supervision.policy import Policy, PoolSupervisor
from procorch.supervision.throttle import Throttle
from procorch.units import whole

RECYCLE_JITTER = 0.1
"""The usual ``recycle_jitter`` of a pool, whose replicas all begin at once."""


class PoolSettings(Settings, total=False):
    """What `AgentPool` takes beside its factory, its number of workers and its name."""

    supervisor: Policy | None
    warm_spares: int
    max_message: int | str
    preload: Sequence[str]
    start_method: str | None
    seed: int | None


class AgentPool(ClosedOnExit, Generic[In, Out]):
    """Replicas of one agent, each in its own process, taking requests from one queue.

    A replica that dies fails the one item it had, by name, and is replaced; what merely raises
    keeps its process. Deaths in the middle of an item are the item's fault and not counted against
    the budget; failed starts and idle deaths are. A context manager (also asynchronous): leaving
    the block closes it. All methods are safe to call from any thread.

    Args:
        factory: see `AgentOrchestrator.add_agent`. It runs in each replica at every start, so what
            it makes is a replica's own. Items are delivered to the agent unchanged.
        workers: number of replicas that work at once; None: one a core.
        supervisor: another policy in place of the pool's own.
        name: the replicas' name in errors and events.
        warm_spares: further replicas that are started and wait to take over from one that dies or
            is recycled.
        max_message, preload, start_method, seed: see `AgentOrchestrator`.
        settings: see `procorch.supervision.keywords.Settings`; in a pool ``recycle_jitter`` is
            0.1 and ``throttle`` is ``Throttle()`` where they are not given: a service that asks for
            a pause gets it from all replicas, and the item is tried again.

    Raises:
        StartError: the replicas do not start.
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
        **settings: Unpack[Settings],
    ) -> None:
        count = _workers((os.cpu_count() or 1) if workers is None else workers)
        spares = whole(warm_spares, "warm_spares")
        self._orchestrator = AgentOrchestrator(
            supervisor=PoolSupervisor() if supervisor is None else supervisor,
            channel_buffer=max(32, 2 * count),
            max_message=max_message,
            preload=preload,
            start_method=start_method,
            seed=seed,
        )
        settings = {
            "charge_requests": True,
            "recycle_jitter": RECYCLE_JITTER,
            "throttle": Throttle(),
            **settings,
        }
        self._orchestrator.add_agent(name, factory, **settings)
        try:
            self._replicas = Replicas(self._orchestrator, name, count, spares)
        except BaseException:
            self._orchestrator.close(drain=False)
            raise
        self._name = name
        self._closed = False
        self._pace = Pace()
        self._timed = settings.get("request_timeout") is not None
        self._retried = bool(settings.get("retries"))
        self._counted = settings.get("max_requests") is not None
        self._rated = settings.get("rate") is not None
        throttle = settings["throttle"]
        self._throttle_retries = 0 if throttle is None else throttle.retries

    @property
    def queue(self) -> OrchestratedHandle:
        """Stands for all replicas: what is sent to it goes to whichever is free first."""
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
        """Send one item to whichever replica is free first.

        Args:
            timeout: seconds from the moment a replica gets it; None: the pool's
                ``request_timeout``.
            retries: how often it is tried again after its replica died; None: the pool's.
            priority: of the items that wait the highest goes first; equals in their order.

        Returns:
            A future of an `AgentResult`, which can be awaited, too.

        Raises:
            SerializationError: the item cannot be serialised, with the path inside it.
            MessageTooLarge: it is larger than ``max_message``.
            AgentStopped: the pool is closed.
        """
        self._orchestrator.must_be_ours()
        self._must_be_open()
        return self._replicas.queue.deliver(
            item, timeout=timeout, retries=retries, priority=priority
        )

    # ---- many items

    @overload
    def map(
        self, items: Iterable[In], *, timeout: float | str | None = None,
        retries: int | None = None, priority: int = 0, chunksize: int | None = None,
        outcomes: Literal[False] = False,
    ) -> list[Out]: ...  # fmt: skip
    @overload
    def map(
        self, items: Iterable[In], *, timeout: float | str | None = None,
        retries: int | None = None, priority: int = 0, chunksize: int | None = None,
        outcomes: Literal[True],
    ) -> list[Outcome[Out]]: ...  # fmt: skip
    @overload
    def map(
        self, items: Iterable[In], *, timeout: float | str | None = None,
        retries: int | None = None, priority: int = 0, chunksize: int | None = None,
        outcomes: bool = False,
    ) -> list[Any]: ...  # fmt: skip
    def map(
        self,
        items: Iterable[In],
        *,
        timeout: float | str | None = None,
        retries: int | None = None,
        priority: int = 0,
        chunksize: int | None = None,
        outcomes: bool = False,
    ) -> list[Any]:
        """The outputs of all items, in their order.

        Items that take less than some milliseconds are sent in chunks, which makes them faster by
        orders of magnitude and changes nothing else: an item that raises or kills its replica fails
        alone. Items with a timeout or retries go one by one, as do those of a pool that counts
        requests (``max_requests``), and those whose ``outcomes`` are asked for, with figures for
        each.

        Args:
            timeout: seconds an item may take, from the moment a replica gets it.
            retries, priority: see `submit`.
            chunksize: items of a chunk; None: as said above. A chunk counts as one request.
            outcomes: an `Outcome` for each item in place of its output; failures do not raise.

        Raises:
            AgentError: the first item's failure, in input order; later items are cancelled.
            AgentStopped: the pool is closed.
            ValueError: a ``chunksize`` of more than 1 with a timeout or retries.
        """
        if chunksize is None and not outcomes and self._may_chunk(timeout, retries):
            total = len(items) if isinstance(items, Sized) else None
            sizes: Sizes = Measured(total, self._replicas.window, self._pace)
        else:
            sizes = self._sizes(chunksize, timeout, retries)
        return self._results(items, timeout, retries, priority, sizes, outcomes, True).collect()

    @overload
    def imap(
        self, items: Iterable[In] | AsyncIterable[In], *, timeout: float | str | None = None,
        retries: int | None = None, priority: int = 0, chunksize: int = 1,
        outcomes: Literal[False] = False,
    ) -> Results[Out]: ...  # fmt: skip
    @overload
    def imap(
        self, items: Iterable[In] | AsyncIterable[In], *, timeout: float | str | None = None,
        retries: int | None = None, priority: int = 0, chunksize: int = 1,
        outcomes: Literal[True],
    ) -> Results[Outcome[Out]]: ...  # fmt: skip
    @overload
    def imap(
        self, items: Iterable[In] | AsyncIterable[In], *, timeout: float | str | None = None,
        retries: int | None = None, priority: int = 0, chunksize: int = 1,
        outcomes: bool = False,
    ) -> Results[Any]: ...  # fmt: skip
    def imap(
        self,
        items: Iterable[In] | AsyncIterable[In],
        *,
        timeout: float | str | None = None,
        retries: int | None = None,
        priority: int = 0,
        chunksize: int = 1,
        outcomes: bool = False,
    ) -> Results[Any]:
        """Like `map`, lazily: takes items as results are taken, so the input may be endless.

        Returns:
            An iterator for ``for`` or ``async for``; for the latter the items may be asynchronous,
            too. Its ``close()`` cancels what is under way, and so does losing it.
        """
        sizes = self._sizes(chunksize, timeout, retries)
        return self._results(items, timeout, retries, priority, sizes, outcomes, True)

    @overload
    def imap_unordered(
        self, items: Iterable[In] | AsyncIterable[In], *, timeout: float | str | None = None,
        retries: int | None = None, priority: int = 0, chunksize: int = 1,
        outcomes: Literal[False] = False,
    ) -> Results[Out]: ...  # fmt: skip
    @overload
    def imap_unordered(
        self, items: Iterable[In] | AsyncIterable[In], *, timeout: float | str | None = None,
        retries: int | None = None, priority: int = 0, chunksize: int = 1,
        outcomes: Literal[True],
    ) -> Results[Outcome[Out]]: ...  # fmt: skip
    @overload
    def imap_unordered(
        self, items: Iterable[In] | AsyncIterable[In], *, timeout: float | str | None = None,
        retries: int | None = None, priority: int = 0, chunksize: int = 1,
        outcomes: bool = False,
    ) -> Results[Any]: ...  # fmt: skip
    def imap_unordered(
        self,
        items: Iterable[In] | AsyncIterable[In],
        *,
        timeout: float | str | None = None,
        retries: int | None = None,
        priority: int = 0,
        chunksize: int = 1,
        outcomes: bool = False,
    ) -> Results[Any]:
        """Like `imap`, in the order in which the results come."""
        sizes = self._sizes(chunksize, timeout, retries)
        return self._results(items, timeout, retries, priority, sizes, outcomes, False)

    async def amap(self, items: Iterable[In] | AsyncIterable[In], **options: Any) -> list[Any]:
        """Like `map`, for a coroutine; items may be asynchronous. Options are those of `imap`."""
        return [value async for value in self.imap(items, **options)]

    def _results(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        timeout: float | str | None,
        retries: int | None,
        priority: int,
        sizes: Sizes,
        outcomes: bool,
        ordered: bool,
    ) -> Results[Any]:
        self._must_be_open()
        self._orchestrator.must_be_ours()
        return Results(
            items,
            _Items(self, timeout, retries, priority),
            lambda: self._replicas.window,
            sizes,
            Outcomes() if outcomes else Outputs(),
            ordered=ordered,
        )

    def _may_chunk(self, timeout: object, retries: int | None) -> bool:
        retried = self._retried if retries is None else bool(retries)
        apart = timeout is not None or self._timed or retried or self._counted or self._rated
        return not apart

    def _sizes(self, chunksize: int | None, timeout: object, retries: int | None) -> Sizes:
        size = 1 if chunksize is None else whole(chunksize, "chunksize", least=1)
        if size > 1 and (timeout is not None or self._timed):
            raise ValueError(f"chunksize={size} and a timeout: a timeout is for one item")
        if size > 1 and (self._retried if retries is None else retries):
            raise ValueError(f"chunksize={size} and retries: retries are for one item")
        if size > 1 and self._rated:
            raise ValueError(f"chunksize={size} and a rate: a rate counts single items")
        return Fixed(size)

    # ---- the replicas

    def resize(self, workers: int) -> None:
        """Have ``workers`` replicas work at once; returns when new ones are ready.

        Those that are too many finish what they work on; what waits is for the others. Replicas
        that have ended for good are made up for.

        Raises:
            StartError: new ones do not start; nothing is changed.
        """
        self._orchestrator.must_be_ours()
        self._replicas.resize(_workers(workers))

    def info(self) -> PoolInfo:
        """The pool and its replicas as they are now."""
        self._orchestrator.must_be_ours()
        return self._replicas.info()

    def events(self) -> EventStream:
        """Events of all replicas from now on; see `AgentOrchestrator.events`."""
        return self._orchestrator.events()

    # ---- the end

    def _must_be_open(self) -> None:
        if self._closed:
            raise AgentStopped(agent=self._name, reason="the pool is closed")

    def failure(self) -> BaseException | None:
        """What ended the last replica, if all of them have ended for good."""
        return self._replicas.failure()

    def close(self, *, drain: bool = True, timeout: float = 30.0) -> None:
        """End all replicas; see `AgentOrchestrator.close`.

        While what was accepted is finished the pool works as ever: dead replicas are replaced, and
        those that have had ``max_requests``. It takes no more items.
        """
        self._orchestrator.must_be_ours()
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


class _Items:
    """Sends items of one iteration; see `batches.Sender`."""

    def __init__(
        self,
        pool: AgentPool[Any, Any],
        timeout: float | str | None,
        retries: int | None,
        priority: int,
    ) -> None:
        self._must_be_open = pool._must_be_open
        self._queue = pool.queue
        self.throttle_retries = pool._throttle_retries
        self._timeout = timeout
        self._retries = retries
        self._priority = priority

    def one(self, item: Any) -> ReplyFuture:
        self._must_be_open()
        return self._queue.deliver(
            item, timeout=self._timeout, retries=self._retries, priority=self._priority
        )

    def chunk(self, items: list[Any]) -> ChunkReply:
        self._must_be_open()
        return self._queue.deliver_chunk(items, priority=self._priority)


def _workers(given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ValueError(f"workers must be a whole number of 1 or more, not {given!r}")
    return given
