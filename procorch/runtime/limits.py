"""Limits that several orchestrators of one program share (N23).

An orchestrator, a pool and a batch have monitors of their own, each on its own thread. For each
`Limit` there is one state, under a lock. The lock is held for a decision only, and no code of users
runs under it. A permit goes to the process that asked for it by way of its own monitor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

from procorch.launch.base import WorkerProcess
from procorch.supervision.shared_limit import Limit, LimitState, SharedLimit


class Confirmer(Protocol):
    """Answers workers of one monitor."""

    def confirm(self, process: WorkerProcess, number: int) -> None:
        """Answer a worker; from any thread."""
        ...


class Ticket(NamedTuple):
    """One call of one worker; ``number``: what the worker waits for.

    ``monitor``: the one that the worker belongs to.
    """

    monitor: Confirmer
    process: WorkerProcess
    number: int


class LimitStore:
    """The state of one `Limit`; safe to use from any thread.

    Attributes:
        retries: how often a call that the service refused is tried again.
    """

    def __init__(self, limit: Limit) -> None:
        self.retries: int = limit.retries
        self._lock = threading.Lock()
        self._shared: SharedLimit[Ticket] = SharedLimit(limit)

    def change(self, change: Callable[[SharedLimit[Ticket]], object], now: float) -> float | None:
        """Apply a change, and send the permits that can be granted then.

        Returns:
            When the next permit can be granted; None: no call waits for one.
        """
        with self._lock:
            change(self._shared)
            granted = self._shared.grant(now)
            opens_at = self._shared.opens_at(now) if self._shared.waiting else None
        for ticket in granted:
            ticket.monitor.confirm(ticket.process, ticket.number)
        return opens_at

    def waits(self, ticket: Ticket) -> bool:
        """Whether a call still waits for its permit."""
        with self._lock:
            return self._shared.waits(ticket)

    def state(self, now: float) -> LimitState:
        """The limit at the moment."""
        with self._lock:
            return self._shared.state(now)


_stores: WeakKeyDictionary[Limit, LimitStore] = WeakKeyDictionary()
_making = threading.Lock()


def store_of(limit: Limit) -> LimitStore:
    """The one state of a limit in this process."""
    with _making:
        store = _stores.get(limit)
        if store is None:
            store = _stores[limit] = LimitStore(limit)
        return store
