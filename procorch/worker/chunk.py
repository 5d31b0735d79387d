"""A chunk: many small items in one request, answered one by one.

An item that fails does not affect the others:

* The worker writes the number of each item to the status page before it begins it. So the parent
  knows which item caused a death.
* The worker sends results in parts, at the latest `HOLD` seconds after the oldest one. So the
  result of an item that takes longer is sent before the next item begins.
* The first failure ends the chunk. The worker sends the results so far and then the error, as for
  any request, so that the policy is asked. The parent sends the remaining items again.

A slow item delays the items behind it only until it has ended: after `LONGEST` seconds the worker
gives the rest of the chunk back.

A death loses the results that were not sent, of items that together took less than `HOLD`. The
parent has those items done again. A caller that does not accept this sends items one by one.
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
from procorch.wire.used import Tally
from procorch.worker.interrupts import Interrupted

HOLD = 0.001
"""Seconds for which a result may wait to be sent together with others."""

LONGEST = 0.05
"""Seconds after which the rest of a chunk is given back for any free worker, if allowed."""

_NONE: frozenset[type] = frozenset()


class _NoResult:
    """No result is of this class."""


class ChunkRun:
    """Runs the items of one chunk and sends their results.

    Args:
        send: sends a part.
        page: the status page, on which items are marked as begun.
        limit: the largest part, in bytes.
        agent: its name, for errors.
        clock: monotonic seconds.
        tally: adds up what the items use of a model.

    Attributes:
        longest: seconds after which the rest of the chunk is given back.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        page: StatusPage,
        limit: int,
        agent: str,
        clock: Callable[[], float],
        tally: Tally,
    ) -> None:
        self._send = send
        self._page = page
        self._limit = limit
        self._agent = agent
        self._clock = clock
        self._tally = tally
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
        """Answer all items, or those up to the first failure.

        Args:
            chunk: the items.
            respond: calls the agent with one item.
            finish: awaits an awaitable result.
            context: its ``finished`` says that the agent accepts no more items.

        Returns:
            The body of the reply: the results that were not sent yet. If there are fewer results
            than items, the parent sends the other items again.

        Raises:
            BaseException: an item raised it; all results before it have been sent.
        """
        clock, simple, held, keep = self._clock, SIMPLE, self._held, self._held.append
        now = clock()
        due, end = now + HOLD, now + self.longest
        cell, sealed, rows = self._page.item_cell, not chunk.simple, chunk.rows
        as_they_are = simple  # classes of results that need no pickle of their own
        usual: type = int  # the one of them that occurred last
        values: set[object] = set(simple)  # classes of results that cannot be awaited
        total = len(chunk.entries)
        try:
            # This loop runs for each of very many items, so each line of it costs time.
            for cell[0], item in enumerate(chunk.entries, 1):
                if sealed:
                    item = opened(item, what="request")
                output = respond(*item) if rows else respond(item)
                if type(output) is not usual:
                    kind = type(output)
                    if kind in as_they_are:
                        usual = kind
                    else:
                        if kind not in values:
                            if inspect.isawaitable(output):
                                output = finish(output)
                            elif kind is not GeneratorType:  # of which some can be awaited
                                values.add(kind)
                        if type(output) not in as_they_are:
                            self._tally.add(output)
                            output = seal(output, what="reply")
                            if self._simple:
                                self._simple, as_they_are, usual = False, _NONE, _NoResult
                                held[:] = seal_all(held, what="reply")
                keep(output)
                if clock() > due:
                    now = clock()
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
        """Send the held results, in as many parts as the size limit requires."""
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
