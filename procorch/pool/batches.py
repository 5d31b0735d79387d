"""Items on their way: one of them, or a chunk, and what is to be done when the answer is there.

A chunk is answered up to its first failure (``worker.chunk``). Which item failed is known exactly:

* after an error it is the first without a result, for the results before it were sent first;
* after a death it is the last that was begun, which the status page of the worker tells. Results of
  items before it may have died with the worker: those are done again. Was every item that was
  begun answered, then the worker died between two items, and none is to blame.

All items that follow are sent again. Everything here runs on the thread of whoever iterates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from procorch.api.handle import ChunkReply, Reply
from procorch.errors import (
    Aborted,
    AgentCrashed,
    AgentError,
    AgentStopped,
    MessageTooLarge,
    SerializationError,
)
from procorch.pool.shapes import Shape
from procorch.pool.sizes import Sizes
from procorch.supervision.throttle import is_throttled

_BLAMELESS_DEATHS = 3
"""Workers that may die between two items of one chunk before the next item gets the error."""


class Sender(Protocol):
    """Who sends items to the replicas.

    Attributes:
        throttle_retries: how often an item is tried again whose service asked for a pause.
    """

    throttle_retries: int

    def one(self, item: Any) -> Reply[Any]:
        """Send one item."""
        ...

    def chunk(self, items: list[Any]) -> ChunkReply:
        """Send several as one request."""
        ...


class Taken(NamedTuple):
    """What a batch came to.

    Args:
        values: what the caller gets, in the order of the items.
        again: what had to be sent again, in that order, all of it behind ``values``.
        simple: none of the values is a failure.
    """

    values: list[Any]
    again: Sequence[Batch] = ()
    simple: bool = False


@dataclass(slots=True, eq=False)
class Batch:
    """Items that were sent as one request.

    Args:
        index: position of the first one in the input.
        items: kept for what has to be sent again.
        reply: what comes back; an error where none will.
        deaths: workers that died with it and none of its items to blame.
        executed: the items were begun before, and what they came to died with their worker.
        throttled: how often its first item was.
        taken: what it came to, from the moment that its answer is taken.
    """

    index: int
    items: list[Any]
    reply: Reply[Any] | AgentError
    deaths: int = 0
    executed: bool = False
    throttled: int = 0
    taken: Taken | None = None

    def notify(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` when the answer is there; see `ReplyFuture.notify`."""
        if isinstance(self.reply, AgentError):
            wake()
        else:
            self.reply.notify(wake)

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        if not isinstance(self.reply, AgentError):
            self.reply.cancel()


def send(
    sender: Sender,
    index: int,
    items: list[Any],
    deaths: int = 0,
    executed: bool = False,
    throttled: int = 0,
) -> list[Batch]:
    """Send items as one request; as several where they do not go together."""
    if len(items) == 1:
        try:
            return [Batch(index, items, sender.one(items[0]), deaths, executed, throttled)]
        except AgentError as error:
            return [Batch(index, items, error, 0, executed)]
    try:
        return [Batch(index, items, sender.chunk(items), deaths, executed, throttled)]
    except (SerializationError, MessageTooLarge):
        half = len(items) // 2
        return [
            *send(sender, index, items[:half], 0, executed),
            *send(sender, index + half, items[half:], 0, executed),
        ]
    except AgentError as error:
        return [Batch(index + n, [item], copy(error), 0, executed) for n, item in enumerate(items)]


def take(batch: Batch, sender: Sender, sizes: Sizes, shape: Shape) -> Taken:
    """What a batch whose answer is there came to."""
    reply = batch.reply
    if isinstance(reply, ChunkReply):
        return _take_chunk(batch, reply, sender, sizes, shape)
    try:
        if isinstance(reply, AgentError):
            raise reply
        result = reply.result()
    except AgentError as error:
        error.may_have_executed = error.may_have_executed or batch.executed
        sizes.failed(0)
        return Taken([shape.failed(batch.index, error)])
    if result.metrics is not None:
        sizes.saw(1, result.metrics.wall)
    return Taken([shape.one(batch.index, result)])


def _take_chunk(
    batch: Batch, reply: ChunkReply, sender: Sender, sizes: Sizes, shape: Shape
) -> Taken:
    outputs, simple, error, begun, metrics = reply.answer()
    index, items, count = batch.index, batch.items, len(outputs)
    values = shape.many(index, outputs, simple=simple)
    if error is None:
        if metrics is not None:
            sizes.saw(count, metrics.wall)
        left = _again(sender, sizes, index + count, items[count:], batch.executed)
        return Taken(values, left, simple)
    if isinstance(error, AgentStopped | Aborted):
        # Nobody is left to send anything to. Each item has an account of its own.
        for n in range(count, len(items)):
            own = copy(error)
            own.may_have_executed = batch.executed or n < begun
            values.append(shape.failed(index + n, own))
        return Taken(values)
    throttled = 1 + (0 if count else batch.throttled)
    if is_throttled(error) and throttled <= sender.throttle_retries:
        left = send(sender, index + count, items[count:], 0, batch.executed, throttled)
        return Taken(values, left)
    sizes.failed(count)
    culprit = count
    if isinstance(error, AgentCrashed):
        if begun > count:
            culprit = begun - 1
        elif count == len(items):
            return Taken(values)
        elif batch.deaths < _BLAMELESS_DEATHS:
            left = send(sender, index + count, items[count:], batch.deaths + 1, batch.executed)
            return Taken(values, left)
        error.may_have_executed = begun > count
    again = _again(sender, sizes, index + count, items[count:culprit], True)
    again.append(Batch(index + culprit, [], error, 0, batch.executed))
    again += _again(sender, sizes, index + culprit + 1, items[culprit + 1 :], batch.executed)
    return Taken(values, again)


def _again(
    sender: Sender, sizes: Sizes, index: int, items: list[Any], executed: bool
) -> list[Batch]:
    sent: list[Batch] = []
    size = sizes.again()
    for at in range(0, len(items), size):
        sent += send(sender, index + at, items[at : at + size], 0, executed)
    return sent
