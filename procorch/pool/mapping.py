"""Sending many items to a pool: ``map``, ``imap`` and their options."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Sequence, Sized
from typing import Any, Generic, Literal, TypedDict, Unpack, overload

from procorch.agents.protocols import In
from procorch.api.pool_handle import PoolHandle
from procorch.errors.texts import did_you_mean
from procorch.futures.chunk import ChunkReply
from procorch.futures.reply import ReplyFuture
from procorch.messages import Out
from procorch.pool.chunk_sizes import AdaptiveSize, ChunkSizes, FixedSize, LastSize
from procorch.pool.outcome import Outcome
from procorch.pool.result_formats import AsOutcomes, AsOutputs
from procorch.pool.results import Results
from procorch.supervision.keywords import CommonSettings
from procorch.units import whole


class ItemOptions(TypedDict, total=False):
    """How each item of a ``map`` or an ``imap`` is sent; see `AgentPool.submit`."""

    timeout: float | str | None
    retries: int | None
    priority: int


class MapMethods(Generic[In, Out]):
    """The methods of `AgentPool` that send many items."""

    _mapper: Mapper

    @overload
    def map(
        self, items: Iterable[In], *, chunksize: int | None = None,
        outcomes: Literal[False] = False, **options: Unpack[ItemOptions],
    ) -> list[Out]: ...  # fmt: skip
    @overload
    def map(
        self, items: Iterable[In], *, chunksize: int | None = None, outcomes: Literal[True],
        **options: Unpack[ItemOptions],
    ) -> list[Outcome[Out]]: ...  # fmt: skip
    @overload
    def map(
        self, items: Iterable[In], *, chunksize: int | None = None, outcomes: bool = False,
        **options: Unpack[ItemOptions],
    ) -> list[Any]: ...  # fmt: skip
    def map(
        self,
        items: Iterable[In],
        *,
        chunksize: int | None = None,
        outcomes: bool = False,
        **options: Unpack[ItemOptions],
    ) -> list[Any]:
        """The outputs of all items, in the order of the items.

        Items that take less than some milliseconds are sent in chunks, which makes them faster by
        orders of magnitude and changes nothing else: an item that raises or kills its worker fails
        alone. Items are sent one by one if they have a timeout or retries, if the pool counts or
        limits requests (``max_requests``, ``rate``), if a worker runs several at once
        (``concurrency``), or if ``outcomes`` are asked for, which have metrics for each item.

        Args:
            chunksize: number of items in a chunk; None: as said above. A chunk counts as one
                request.
            outcomes: return an `Outcome` for each item in place of its output, and raise no errors
                of items.
            options: ``timeout``, ``retries`` and ``priority`` of each item; see `AgentPool.submit`.

        Raises:
            AgentError: the error of the first item, in input order, that failed; later items are
                cancelled.
            AgentStopped: the pool is closed.
            ValueError: a ``chunksize`` of more than 1 with a timeout, with retries, with a rate or
                with ``concurrency``.
        """
        adaptive = chunksize is None and not outcomes and self._mapper.may_chunk(options)
        sizes = self._mapper.adaptive_size(items) if adaptive else None
        return self._mapper.results(
            items,
            1 if chunksize is None else chunksize,
            options,
            sizes=sizes,
            outcomes=outcomes,
            ordered=True,
        ).collect()

    @overload
    def imap(
        self, items: Iterable[In] | AsyncIterable[In], *, chunksize: int = 1,
        outcomes: Literal[False] = False, **options: Unpack[ItemOptions],
    ) -> Results[Out]: ...  # fmt: skip
    @overload
    def imap(
        self, items: Iterable[In] | AsyncIterable[In], *, chunksize: int = 1,
        outcomes: Literal[True], **options: Unpack[ItemOptions],
    ) -> Results[Outcome[Out]]: ...  # fmt: skip
    @overload
    def imap(
        self, items: Iterable[In] | AsyncIterable[In], *, chunksize: int = 1,
        outcomes: bool = False, **options: Unpack[ItemOptions],
    ) -> Results[Any]: ...  # fmt: skip
    def imap(
        self,
        items: Iterable[In] | AsyncIterable[In],
        *,
        chunksize: int = 1,
        outcomes: bool = False,
        **options: Unpack[ItemOptions],
    ) -> Results[Any]:
        """Like `map`, lazily: items are read as results are taken, so the input may be endless.

        Args:
            chunksize: number of items in a chunk.
            outcomes, options: see `map`.

        Returns:
            An iterator for ``for`` or ``async for``; for the latter the items may be asynchronous,
            too. What is under way is cancelled by ``close()``, and when the iterator is collected.
        """
        return self._mapper.results(items, chunksize, options, outcomes=outcomes, ordered=True)

    @overload
    def imap_unordered(
        self, items: Iterable[In] | AsyncIterable[In], *, chunksize: int = 1,
        outcomes: Literal[False] = False, **options: Unpack[ItemOptions],
    ) -> Results[Out]: ...  # fmt: skip
    @overload
    def imap_unordered(
        self, items: Iterable[In] | AsyncIterable[In], *, chunksize: int = 1,
        outcomes: Literal[True], **options: Unpack[ItemOptions],
    ) -> Results[Outcome[Out]]: ...  # fmt: skip
    @overload
    def imap_unordered(
        self, items: Iterable[In] | AsyncIterable[In], *, chunksize: int = 1,
        outcomes: bool = False, **options: Unpack[ItemOptions],
    ) -> Results[Any]: ...  # fmt: skip
    def imap_unordered(
        self,
        items: Iterable[In] | AsyncIterable[In],
        *,
        chunksize: int = 1,
        outcomes: bool = False,
        **options: Unpack[ItemOptions],
    ) -> Results[Any]:
        """Like `imap`, with the results in the order in which they arrive."""
        return self._mapper.results(items, chunksize, options, outcomes=outcomes, ordered=False)

    @overload
    async def amap(
        self, items: Iterable[In] | AsyncIterable[In], *, chunksize: int = 1,
        outcomes: Literal[False] = False, **options: Unpack[ItemOptions],
    ) -> list[Out]: ...  # fmt: skip
    @overload
    async def amap(
        self, items: Iterable[In] | AsyncIterable[In], *, chunksize: int = 1,
        outcomes: Literal[True], **options: Unpack[ItemOptions],
    ) -> list[Outcome[Out]]: ...  # fmt: skip
    @overload
    async def amap(
        self, items: Iterable[In] | AsyncIterable[In], *, chunksize: int = 1,
        outcomes: bool = False, **options: Unpack[ItemOptions],
    ) -> list[Any]: ...  # fmt: skip
    async def amap(
        self,
        items: Iterable[In] | AsyncIterable[In],
        *,
        chunksize: int = 1,
        outcomes: bool = False,
        **options: Unpack[ItemOptions],
    ) -> list[Any]:
        """Like `map`, for a coroutine; items may be asynchronous. Options are those of `imap`."""
        results = self.imap(items, chunksize=chunksize, outcomes=outcomes, **options)
        return [value async for value in results]


class Mapper:
    """Makes the iterations over the results of many items.

    Args:
        queue: the handle that items are sent to.
        settings: of the workers.
        window: how many chunks keep all workers busy now.
        must_be_open: raises where the pool takes no items.
    """

    def __init__(
        self,
        queue: PoolHandle,
        settings: CommonSettings,
        window: Callable[[], int],
        must_be_open: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._window = window
        self._must_be_open = must_be_open
        self._last_size = LastSize()
        self._several = settings.get("concurrency", 1) > 1
        self._has_timeout = settings.get("request_timeout") is not None
        self._has_retries = bool(settings.get("retries"))
        self._counts_requests = settings.get("max_requests") is not None
        self._has_rate = settings.get("rate") is not None
        throttle = settings.get("throttle")
        self._throttle_retries = 0 if throttle is None else throttle.retries

    def results(
        self,
        items: Iterable[Any] | AsyncIterable[Any],
        chunksize: int,
        options: ItemOptions,
        *,
        sizes: ChunkSizes | None = None,
        outcomes: bool,
        ordered: bool,
    ) -> Results[Any]:
        """An iteration over the results of ``items``.

        Args:
            sizes: in place of ``chunksize``.
        """
        for name in options.keys() - ItemOptions.__annotations__.keys():
            hint = did_you_mean(name, ItemOptions.__annotations__, listed="known")
            raise TypeError(f"unknown option {name!r} of items{hint}")
        sizes = self._fixed_size(chunksize, options) if sizes is None else sizes
        self._must_be_open()
        return Results(
            items,
            _ItemSender(self._queue, self._must_be_open, self._throttle_retries, **options),
            self._window,
            sizes,
            AsOutcomes() if outcomes else AsOutputs(),
            ordered=ordered,
        )

    def may_chunk(self, options: ItemOptions) -> bool:
        """Whether items may go together though nobody has asked for that."""
        alone = self._item_timeout(options) or self._item_retries(options)
        return not (alone or self._counts_requests or self._has_rate or self._several)

    def adaptive_size(self, items: Iterable[Any]) -> ChunkSizes:
        """Sizes of chunks that follow the time that the items take."""
        total = len(items) if isinstance(items, Sized) else None
        return AdaptiveSize(total, self._window(), self._last_size)

    def _item_timeout(self, options: ItemOptions) -> bool:
        return options.get("timeout") is not None or self._has_timeout

    def _item_retries(self, options: ItemOptions) -> bool:
        retries = options.get("retries")
        return self._has_retries if retries is None else bool(retries)

    def _fixed_size(self, chunksize: int, options: ItemOptions) -> ChunkSizes:
        size = whole(chunksize, "chunksize", least=1)
        if size > 1 and self._item_timeout(options):
            raise ValueError(f"chunksize={size} and a timeout: a timeout is for one item")
        if size > 1 and self._item_retries(options):
            raise ValueError(f"chunksize={size} and retries: retries are for one item")
        if size > 1 and self._several:
            raise ValueError(
                f"chunksize={size} and concurrency: the items of a chunk run one after the other"
            )
        if size > 1 and self._has_rate:
            raise ValueError(f"chunksize={size} and a rate: a rate counts single items")
        return FixedSize(size)


class _ItemSender:
    """Sends the items of one iteration; see `chunks.Sender`."""

    def __init__(
        self,
        queue: PoolHandle,
        must_be_open: Callable[[], None],
        throttle_retries: int,
        *,
        timeout: float | str | None = None,
        retries: int | None = None,
        priority: int = 0,
    ) -> None:
        self._queue = queue
        self._must_be_open = must_be_open
        self.throttle_retries = throttle_retries
        self._timeout = timeout
        self._retries = retries
        self._priority = priority

    def one(self, item: Any) -> ReplyFuture:
        self._must_be_open()
        return self._queue.deliver(
            item, timeout=self._timeout, retries=self._retries, priority=self._priority
        )

    def chunk(self, items: Sequence[Any]) -> ChunkReply:
        self._must_be_open()
        return self._queue.deliver_chunk(items, priority=self._priority)
