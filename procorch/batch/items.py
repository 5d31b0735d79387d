"""What the user gets of each item of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias

from procorch.errors import AgentError
from procorch.messages import Cost, Out, StopReason, Usage


@dataclass(frozen=True, slots=True)
class ItemCost:
    """What the last attempt at an item cost; a figure is None if the worker died before it said it.

    Args:
        wall: seconds.
        cpu: user and system time, in seconds.
        peak_rss: the most resident bytes of the worker.
        pid: process id of the worker.
        usage: tokens of a model, in all attempts of this run.
        money: what the model's provider takes for them, in US dollars; 0 where that is not known.
    """

    wall: float | None = None
    cpu: float | None = None
    peak_rss: int | None = None
    pid: int | None = None
    usage: Usage = field(default_factory=Usage)
    money: Cost = field(default_factory=Cost)


if TYPE_CHECKING:

    @dataclass(frozen=True, slots=True)
    class BatchSuccess(Generic[Out]):
        """An item that succeeded; see `BatchItem`."""

        id: str
        ok: Literal[True]
        output: Out
        error: None
        reason: None
        place: None
        attempts: int
        position: int
        resumed: bool = False
        cost: ItemCost = field(default_factory=ItemCost)
        log: str = ""
        stop_reason: StopReason | None = None
        scores: Mapping[str, float] = field(default_factory=dict)

    @dataclass(frozen=True, slots=True)
    class BatchFailure:
        """An item that failed; see `BatchItem`."""

        id: str
        ok: Literal[False]
        output: None
        error: AgentError
        reason: str
        place: str | None
        attempts: int
        position: int
        resumed: bool = False
        cost: ItemCost = field(default_factory=ItemCost)
        log: str = ""
        stop_reason: StopReason | None = None
        scores: Mapping[str, float] = field(default_factory=dict)

    BatchItem: TypeAlias = BatchSuccess[Out] | BatchFailure
    """An item with its outcome: ``item.error is None`` tells type checkers which of the two."""

else:
    # A class, so that `isinstance` works and what version 0.1 has pickled loads.

    @dataclass(frozen=True, slots=True)
    class BatchItem:
        """One item with its final outcome: a `BatchSuccess` or a `BatchFailure`.

        Args:
            id: its name.
            ok: whether it succeeded.
            output: what the agent returned; None where it failed.
            error: why it failed; None where it succeeded.
            reason: the failure in a word, one of "error", "timeout", "crashed", "memory",
                "serialization", "cancelled", "poison"; None where it succeeded.
            place: what its worker died of, and where in the code it failed; None where it
                succeeded.
            attempts: how often it was tried, earlier runs of the batch included.
            position: place in the input, from 0.
            resumed: its outcome is that of an earlier run of the batch.
            cost: what the last attempt cost.
            log: what was written to standard output and error during the last attempt.
            stop_reason: why the model stopped. An answer that was cut off at a limit of tokens
                (`StopReason.LENGTH`) is a failure. None: the item had no answer.
            scores: what the scorer gave for the output, by name; empty without a scorer, and where
                the item failed.

        Example:
            >>> def worker():
            ...     return lambda number: 10 // number
            >>> with run_batch(worker, [5, 0], out=None, workers=1, keep_order=True) as run:
            ...     for item in run:
            ...         print(item.id, item.ok, item.output, item.reason)
            0 True 2 None
            1 False None error
        """

        id: str
        ok: bool
        output: Any
        error: AgentError | None
        reason: str | None
        place: str | None
        attempts: int
        position: int
        resumed: bool = False
        cost: ItemCost = field(default_factory=ItemCost)
        log: str = ""
        stop_reason: StopReason | None = None
        scores: Mapping[str, float] = field(default_factory=dict)

    class BatchSuccess(BatchItem, Generic[Out]):
        """An item that succeeded; see `BatchItem`.

        Example:
            >>> with run_batch(lambda: len, ["one"], out=None, workers=1) as run:
            ...     print(isinstance(next(run), BatchSuccess))
            True
        """

        __slots__ = ()

    class BatchFailure(BatchItem):
        """An item that failed; see `BatchItem`.

        Example:
            >>> with run_batch(lambda: int, ["one"], out=None, workers=1) as run:
            ...     print(isinstance(next(run), BatchFailure))
            True
        """

        __slots__ = ()
