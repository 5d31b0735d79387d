"""Many of one agent behind one queue."""

from __future__ import annotations

import functools
import os
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from procorch.errors import AgentError
from procorch.handle import ReplyFuture
from procorch.info import AgentInfo
from procorch.messages import AgentResult
from procorch.orchestrator import AgentOrchestrator, EventStream
from procorch.supervision.policy import Policy, PoolSupervisor


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item.

    Args:
        index: position of the item in the input, from 0.
        ok: whether it succeeded.
        output: what the agent returned; None where it failed.
        error: why it failed; None where it succeeded.
        result: the whole result with its metrics; None where it failed.
    """

    index: int
    ok: bool
    output: Any = None
    error: AgentError | None = None
    result: AgentResult | None = None


class AgentPool:
    """Replicas of one agent, each in its own process, taking requests from one queue.

    A replica that dies fails the one item it had, by name, and is replaced; what merely raises
    keeps its process. Deaths in the middle of an item are the item's fault and not counted against
    the budget; failed starts and idle deaths are. A context manager: leaving the block closes it.

    Args:
        factory: see `AgentOrchestrator.add_agent`. Items are delivered to the agent unchanged.
        workers: number of replicas; None: one a core.
        supervisor: another policy in place of the pool's own.
        name: the replicas' name in errors and events.
        settings: see `procorch.supervision.settings.AgentSettings`.

    Raises:
        StartError: the replicas do not start.
    """

    def __init__(
        self,
        factory: Callable[[], Any],
        workers: int | None = None,
        *,
        supervisor: Policy | None = None,
        name: str = "pool",
        **settings: Any,
    ) -> None:
        count = (os.cpu_count() or 1) if workers is None else workers
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"workers must be a whole number of 1 or more, not {workers!r}")
        self._window = 2 * count
        self._orchestrator = AgentOrchestrator(
            supervisor=PoolSupervisor() if supervisor is None else supervisor,
            channel_buffer=max(32, self._window),
        )
        self._orchestrator.add_agent(name, factory, charge_requests=True, **settings)
        try:
            self._handles = self._orchestrator.spawn_replicas(name, count)
        except BaseException:
            self._orchestrator.close(drain=False)
            raise

    def submit(self, item: Any, *, timeout: float | str | None = None) -> ReplyFuture:
        """Send one item to whichever replica is free first; see `OrchestratedHandle.deliver`."""
        return self._handles[0].deliver(item, timeout=timeout)

    def map(
        self, items: Iterable[Any], *, timeout: float | str | None = None, outcomes: bool = False
    ) -> list[Any]:
        """The outputs of all items, in their order.

        Args:
            timeout: seconds an item may take, from the moment a replica gets it.
            outcomes: an `Outcome` for each item in place of its output; failures do not raise.

        Raises:
            AgentError: the first item's failure, in input order; later items are cancelled.
        """
        return list(self.imap(items, timeout=timeout, outcomes=outcomes))

    def imap(
        self, items: Iterable[Any], *, timeout: float | str | None = None, outcomes: bool = False
    ) -> Iterator[Any]:
        """Like `map`, lazily: takes items as results are taken, so the input may be endless."""
        under_way: deque[tuple[int, ReplyFuture | AgentError]] = deque()
        numbered = enumerate(items)
        try:
            while True:
                while len(under_way) < self._window and (entry := next(numbered, None)):
                    under_way.append((entry[0], self._sent(entry[1], timeout)))
                if not under_way:
                    return
                index, reply = under_way.popleft()
                yield _taken(index, reply, outcomes)
        finally:
            for _, reply in under_way:
                if isinstance(reply, ReplyFuture):
                    reply.cancel()

    def imap_unordered(
        self, items: Iterable[Any], *, timeout: float | str | None = None, outcomes: bool = False
    ) -> Iterator[Any]:
        """Like `imap`, in the order in which the results come."""
        finished: queue.SimpleQueue[tuple[int, ReplyFuture | AgentError]] = queue.SimpleQueue()
        under_way: dict[int, ReplyFuture | AgentError] = {}
        numbered = enumerate(items)
        try:
            while True:
                while len(under_way) < self._window and (entry := next(numbered, None)):
                    index, item = entry
                    under_way[index] = reply = self._sent(item, timeout)
                    tell = functools.partial(finished.put, (index, reply))
                    reply.notify(tell) if isinstance(reply, ReplyFuture) else tell()
                if not under_way:
                    return
                index, reply = finished.get()
                del under_way[index]
                yield _taken(index, reply, outcomes)
        finally:
            for reply in under_way.values():
                if isinstance(reply, ReplyFuture):
                    reply.cancel()

    def _sent(self, item: Any, timeout: float | str | None) -> ReplyFuture | AgentError:
        """The reply to come, or why there will be none: an item may be what cannot be sent."""
        try:
            return self.submit(item, timeout=timeout)
        except AgentError as error:
            return error

    def info(self) -> tuple[AgentInfo, ...]:
        """The replicas as they are now."""
        return tuple(handle.info() for handle in self._handles)

    def events(self) -> EventStream:
        """Events of all replicas from now on; see `AgentOrchestrator.events`."""
        return self._orchestrator.events()

    def close(self, *, drain: bool = True, timeout: float = 30.0) -> None:
        """End all replicas; see `AgentOrchestrator.close`."""
        self._orchestrator.close(drain=drain, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close(drain=kind is None)

    def __repr__(self) -> str:
        running = sum(not handle.is_done() for handle in self._handles)
        return f"<AgentPool name={self._handles[0].name!r} workers={running}>"


def _taken(index: int, reply: ReplyFuture | AgentError, outcomes: bool) -> Any:
    try:
        if isinstance(reply, AgentError):
            raise reply
        result = reply.result()
    except AgentError as error:
        if not outcomes:
            raise
        return Outcome(index, False, error=error)
    return Outcome(index, True, result.output, None, result) if outcomes else result.output
