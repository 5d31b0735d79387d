"""A chunk: many small items in one request, answered one by one.

What makes one of them fail makes that one fail and no other:

* before an item is begun its number is on the status page, so a death has a culprit;
* results leave the process in parts, `HOLD` seconds after the oldest of them at the latest, so
  what an item that takes longer than that has come to is out before the next one begins;
* the first failure ends the chunk. The results so far are sent, then the error as for any request,
  so that a policy sees it; the parent sends the items that follow again.

What a death takes along are results that were not sent: of items that together took less than
`HOLD`. The parent has those items done again. Whoever cannot have that sends items one by one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from procorch.context import Context
from procorch.errors import MessageTooLarge
from procorch.wire import several
from procorch.worker.cancel import Interrupted

HOLD = 0.001
"""Seconds for which a result may wait for others to be sent with it."""


class Chunk:
    """The results of a chunk on their way out.

    Args:
        send: sends a part.
        limit: the largest part, in bytes.
        agent: its name, for errors.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        limit: int,
        agent: str,
        clock: Callable[[], float],
    ) -> None:
        self._send = send
        self._limit = limit
        self._agent = agent
        self._clock = clock
        self._held: list[Any] = []

    def run(
        self,
        entries: Iterable[Any],
        respond: Callable[[Any], Any],
        finish: Callable[[Any], Any],
        context: Context,
    ) -> bytes:
        """Have all items answered, or those up to the first failure.

        Args:
            entries: sealed items, each marked as begun when it is taken.
            respond: what the agent does with one.
            finish: awaits what it returned.
            context: says when the agent wants no more.

        Returns:
            The body of the reply: the results that are still here.

        Raises:
            BaseException: what an item raised; all results before it have been sent.
        """
        clock, simple, held = self._clock, several.SIMPLE, self._held
        due = clock() + HOLD
        try:
            for entry in entries:
                if type(entry) is tuple:
                    entry = several.opened(entry, what="item")
                output = respond(entry)
                if type(output) not in simple:
                    if inspect.isawaitable(output):
                        output = finish(output)
                    output = several.seal(output, what="reply")
                held.append(output)
                if clock() > due:
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
            while len(body := several.dump(held[:count])) > self._limit:
                if count == 1:
                    raise MessageTooLarge(
                        agent=self._agent, what="reply", size=len(body), limit=self._limit
                    )
                count //= 2
            self._send(body)
            del held[:count]

    def _last(self) -> bytes:
        body = several.dump(self._held)
        if len(body) <= self._limit:
            return body
        self._flush()
        return several.dump([])
