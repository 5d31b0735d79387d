"""Items that are tried again: whether, and when."""

from __future__ import annotations

import heapq
import random
import time
from collections import deque

from procorch.batch.options import ActiveItem, BatchOptions
from procorch.batch.reasons import reason_of
from procorch.errors import AgentCrashed, AgentError
from procorch.supervision.restarts import Retry, retry
from procorch.supervision.throttle import Throttle, is_throttled

_LONGEST_DELAY = 30.0
"""Seconds between two attempts at most, unless a service asks for more."""
_FIRST_DELAY = 0.25
"""Seconds, doubled with each attempt; a random part of it is left out."""


class RetryQueue:
    """Decides about failed attempts and keeps the items that wait for their next one."""

    def __init__(self, options: BatchOptions) -> None:
        self._options = options
        self._now: deque[ActiveItem] = deque()
        self._later: list[tuple[float, int, ActiveItem]] = []

    def __len__(self) -> int:
        return len(self._now) + len(self._later)

    def decide(self, active: ActiveItem, error: AgentError) -> Retry:
        """What becomes of an item whose attempt has failed."""
        if not (error.is_retryable or reason_of(error) in self._options.retry_on):
            return Retry.GIVE_UP
        return retry(
            attempts=active.tries,
            deaths=len(active.deaths),
            retries=self._options.retries,
            allowed_failures=self._options.allowed_failures,
        )

    def is_throttled(self, active: ActiveItem, error: AgentError) -> bool:
        """Whether the attempt does not count, because a service asked for a pause."""
        throttle = self._options.throttle
        return throttle is not None and is_throttled(error) and active.throttled < throttle.retries

    def put_now(self, active: ActiveItem) -> None:
        """Try an item again as soon as there is room."""
        self._now.append(active)

    def put(self, active: ActiveItem, error: AgentError) -> None:
        """Try an item again: at once after a death, else after a delay."""
        if isinstance(error, AgentCrashed):
            self._now.append(active)
            return
        delay = error.retry_after
        if delay is None:
            delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2**active.tries) * random.uniform(0.5, 1.0)
        delay = min(delay, (self._options.throttle or Throttle()).longest)
        heapq.heappush(self._later, (time.monotonic() + delay, active.turn, active))

    def next(self) -> ActiveItem | None:
        """The item that is to be tried next; None: none is due."""
        if self._now:
            return self._now.popleft()
        if self._later and self._later[0][0] <= time.monotonic():
            return heapq.heappop(self._later)[2]
        return None

    @property
    def next_due(self) -> float | None:
        """When the delay of an item ends, in monotonic seconds; None: no item is delayed."""
        return self._later[0][0] if self._later else None

    def clear(self) -> None:
        """Try nothing again."""
        self._now.clear()
        self._later.clear()
