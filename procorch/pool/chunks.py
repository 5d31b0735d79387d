"""Items under way, alone or as a chunk, and what is done when their answer has arrived.

Everything here runs on the thread that iterates over the results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from procorch.errors import (
    Aborted,
    AgentError,
    AgentStopped,
    MessageTooLarge,
    SerializationError,
)
from procorch.futures.chunk import ChunkReply
from procorch.futures.reply import Reply
from procorch.pool.blame import blamed_item
from procorch.pool.chunk_sizes import ChunkSizes
from procorch.pool.result_formats import ResultFormat
from procorch.supervision.throttle import is_throttled


class Sender(Protocol):
    """Sends items to the workers.

    Attributes:
        throttle_retries: how often an item is tried again after a service asked for a pause.
    """

    throttle_retries: int

    def one(self, item: Any) -> Reply[Any]:
        """Send one item."""
        ...

    def chunk(self, items: Sequence[Any]) -> ChunkReply:
        """Send several items as one request."""
        ...


class Answer(NamedTuple):
    """What the answer to a chunk gives.

    Args:
        values: what the caller gets, in the order of the items.
        resent: chunks of items that were sent again, in order; their results follow ``values``.
        simple: no value is a failure.
    """

    values: list[Any]
    resent: Sequence[Chunk] = ()
    simple: bool = False


class Chunk(Struct, eq=False):
    """Items that were sent as one request.

    Args:
        index: position of the first item in the input.
        items: kept, since some may have to be sent again.
        reply: the future of the answer; an error if the items could not be sent.
        deaths: workers that died with these items while no item was to blame.
        executed: the items were begun before, and their results were lost with the worker.
        throttled: how often the service asked for a pause at the first item.
        answer: set when the answer has arrived and was handled.
    """

    index: int
    items: Sequence[Any]
    reply: Reply[Any] | AgentError
    deaths: int = 0
    executed: bool = False
    throttled: int = 0
    answer: Answer | None = None

    def notify(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` when the answer has arrived; see `Reply.notify`."""
        if isinstance(self.reply, AgentError):
            wake()
        else:
            self.reply.notify(wake)

    def cancel(self) -> None:
        """Cancel the request."""
        if not isinstance(self.reply, AgentError):
            self.reply.cancel()


def send(
    sender: Sender,
    index: int,
    items: Sequence[Any],
    deaths: int = 0,
    executed: bool = False,
    throttled: int = 0,
) -> list[Chunk]:
    """Send items as one request, or as several if they cannot be sent together."""
    if len(items) == 1:
        try:
            return [Chunk(index, items, sender.one(items[0]), deaths, executed, throttled)]
        except AgentError as error:
            return [Chunk(index, items, error, 0, executed)]
    try:
        return [Chunk(index, items, sender.chunk(items), deaths, executed, throttled)]
    except (SerializationError, MessageTooLarge):
        half = len(items) // 2
        return [
            *send(sender, index, items[:half], 0, executed),
            *send(sender, index + half, items[half:], 0, executed),
        ]
    except AgentError as error:
        return [Chunk(index + n, [item], copy(error), 0, executed) for n, item in enumerate(items)]


def handle_answer(chunk: Chunk, sender: Sender, sizes: ChunkSizes, form: ResultFormat) -> Answer:
    """Make values of an answer that has arrived, and send again what has no result."""
    reply = chunk.reply
    if isinstance(reply, ChunkReply):
        return _handle_chunk(chunk, reply, sender, sizes, form)
    try:
        if isinstance(reply, AgentError):
            raise reply
        result = reply.result()
    except AgentError as error:
        error.may_have_executed = error.may_have_executed or chunk.executed
        sizes.failed(0)
        return Answer([form.failure(chunk.index, error)])
    if result.metrics is not None:
        sizes.took(1, result.metrics.wall)
    return Answer([form.result(chunk.index, result)])


def _handle_chunk(
    chunk: Chunk, reply: ChunkReply, sender: Sender, sizes: ChunkSizes, form: ResultFormat
) -> Answer:
    outputs, simple, error, begun, metrics = reply.answer()
    index, items, count = chunk.index, chunk.items, len(outputs)
    values = form.outputs(index, outputs, simple=simple)
    if error is None:
        if metrics is not None:
            sizes.took(count, metrics.wall)
        left = _send_again(sender, sizes, index + count, items[count:], chunk.executed)
        return Answer(values, left, simple)
    if isinstance(error, AgentStopped | Aborted):
        # There is no worker left to send anything to. Each item gets an error of its own.
        for n in range(count, len(items)):
            own = copy(error)
            own.may_have_executed = chunk.executed or n < begun
            values.append(form.failure(index + n, own))
        return Answer(values)
    throttled = 1 + (0 if count else chunk.throttled)
    if is_throttled(error) and throttled <= sender.throttle_retries:
        left = send(sender, index + count, items[count:], 0, chunk.executed, throttled)
        return Answer(values, left)
    sizes.failed(count)
    blamed = blamed_item(error, answered=count, begun=begun, sent=len(items), deaths=chunk.deaths)
    if blamed is None:
        if count == len(items):
            return Answer(values)
        left = send(sender, index + count, items[count:], chunk.deaths + 1, chunk.executed)
        return Answer(values, left)
    again = _send_again(sender, sizes, index + count, items[count:blamed], True)
    again.append(Chunk(index + blamed, [], error, 0, chunk.executed))
    again += _send_again(sender, sizes, index + blamed + 1, items[blamed + 1 :], chunk.executed)
    return Answer(values, again)


def _send_again(
    sender: Sender, sizes: ChunkSizes, index: int, items: Sequence[Any], executed: bool
) -> list[Chunk]:
    sent: list[Chunk] = []
    size = sizes.again()
    for at in range(0, len(items), size):
        sent += send(sender, index + at, items[at : at + size], 0, executed)
    return sent
