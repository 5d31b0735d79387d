"""A chunk: many small items in one request, answered one by one.

What makes one of them fail makes that one fail and no other:

* before an item is begun its number is on the status page, so a death has a culprit;
* results leave the process in parts, `HOLD` seconds after the oldest of them at the latest, so
  what an item that takes longer than that has come to is out before the next one begins;
* the first failure ends the chunk. The results so far are sent, then the error as for any request,
  so that a policy sees it; the parent sends the items that follow again.

A slow item holds up those behind it only until it has ended: a chunk that has taken `LONGEST` is
given back then.

What a death takes along are results that were not sent: of items that together took less than
`HOLD`. The parent has those items done again. Whoever cannot have that sends items one by one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import GeneratorType
from typing import Any

from procorch.agents.context import Context
from procorch.errors import MessageTooLarge
from procorch.wire.item_list import SIMPLE, ItemList, opened, seal, seal_all
from procorch.wire.status import StatusPage
from procorch.worker.interrupts import Interrupted

HOLD = 0.001
"""Seconds for which a result may wait for others to be sent with it."""

LONGEST = 0.05
"""Seconds after which the rest of a chunk is left to whoever is free, where it may be."""

_NONE: frozenset[type] = frozenset()


class ChunkRun:
    """One run through a chunk: its results on their way out.

    Args:
        send: sends a part.
        page: where items are marked as begun.
        limit: the largest part, in bytes.
        agent: its name, for errors.
        clock: monotonic seconds.

    Attributes:
        longest: seconds after which the rest is given back.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        page: StatusPage,
        limit: int,
        agent: str,
        clock: Callable[[], float],
    ) -> None:
        self._send = send
        self._page = page
        self._limit = limit
        self._agent = agent
        self._clock = clock
        self._held: list[Any] = []
        self._simple = True
        self.longest = LONGEST

    def run(
        self,
        chunk: ItemList,
        respond: Callable[[Any], Any],
        finish: Callable[[Any], Any],
        context: Context,
    ) -> bytes:
        """Have all items answered, or those up to the first failure.

        Args:
            chunk: the items.
            respond: what the agent does with one.
            finish: awaits what it returned.
            context: says when the agent wants no more.

        Returns:
            The body of the reply: the results that are still here. There may be fewer results than
            items: the parent sends the others again.

        Raises:
            BaseException: what an item raised; all results before it have been sent.
        """
        clock, simple, held = self._clock, SIMPLE, self._held
        now = clock()
        due, end = now + HOLD, now + self.longest
        cell, sealed, rows = self._page.item_cell, not chunk.simple, chunk.rows
        as_they_are = simple  # classes of results that stay what they are
        values: set[object] = set(simple)  # classes of results that cannot be awaited
        total = len(chunk.entries)
        try:
            # Each line of this loop is paid for by every one of very many items.
            for cell[0], item in enumerate(chunk.entries, 1):
                if sealed:
                    item = opened(item, what="request")
                output = respond(*item) if rows else respond(item)
                if type(output) not in as_they_are:
                    kind = type(output)
                    if kind not in values:
                        if inspect.isawaitable(output):
                            output = finish(output)
                        elif kind is not GeneratorType:  # of which some can be awaited
                            values.add(kind)
                    if type(output) not in as_they_are:
                        output = seal(output, what="reply")
                        if self._simple:
                            self._simple, as_they_are = False, _NONE
                            held[:] = seal_all(held, what="reply")
                held.append(output)
                if (now := clock()) > due:
                    if now > end or cell[0] == total:
                        break
                    as_they_are = simple
                    self._flush()
                    due = clock() + HOLD
                if context.finished:
                    break
        except Interrupted:
            raise  # The whole chunk is cancelled.
        except BaseException:
            self._flush()
            raise
        return self._last()

    def _flush(self) -> None:
        """Send what is held, in as many parts as its size asks for."""
        held = self._held
        while held:
            count = len(held)
            while len(body := ItemList(self._simple, held[:count]).dump()) > self._limit:
                if count == 1:
                    raise MessageTooLarge(
                        agent=self._agent, what="reply", size=len(body), limit=self._limit
                    )
                count //= 2
            self._send(body)
            del held[:count]
        self._simple = True

    def _last(self) -> bytes:
        body = ItemList(self._simple, self._held).dump()
        if len(body) <= self._limit:
            return body
        self._flush()
        return ItemList(True, []).dump()
