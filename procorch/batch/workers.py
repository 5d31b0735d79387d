"""The workers of a batch: replicas of one agent behind one queue."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from procorch.api.handle import ReplyFuture
from procorch.api.orchestrator import AgentOrchestrator
from procorch.supervision.keywords import Settings
from procorch.supervision.policy import PoolSupervisor
from procorch.supervision.throttle import Pause, Throttle

_FEWEST, _MOST = 8, 64
"""Requests that wait for a worker, so that none is idle while the next one is read."""


@dataclass(frozen=True, slots=True)
class AtWork:
    """What one worker is doing.

    Args:
        request: number of the request that it has; None: it is idle, or starting.
        state: as users see it, such as "BUSY" or "BACKOFF".
        rss: resident bytes.
        generation: how many processes it has had.
    """

    request: int | None
    pid: int | None
    state: str
    rss: int
    generation: int


class Crew:
    """Starts the workers; all of them are ready when this returns.

    Args:
        orchestrator: to be used, and closed at the end; None: one of its own.

    Raises:
        StartError: they do not start.
        TypeError: an unknown setting.
        ValueError: an unknown start method.
    """

    def __init__(
        self, factory: Callable[[], Any], workers: int, name: str, settings: Settings,
        start_method: str | None = None, seed: int = 0,
        orchestrator: AgentOrchestrator | None = None,
    ) -> None:  # fmt: skip
        self.workers = workers
        if orchestrator is None:
            orchestrator = AgentOrchestrator(start_method=start_method, seed=seed)
        self._orchestrator = orchestrator.with_supervisor(PoolSupervisor())
        self._orchestrator.with_channel_buffer(_MOST)
        throttle = settings.get("throttle")
        if isinstance(throttle, Throttle):
            # The pause is the workers'; the batch tries an item again, and keeps each attempt.
            settings = {**settings, "throttle": dataclasses.replace(throttle, retries=0)}
        # A death in the middle of an item is the item's fault, and not counted.
        settings = {**settings, "charge_requests": True}
        self._orchestrator.add_agent(name, factory, **settings)
        at_hand = workers * settings.get("prefetch", 1)
        self.window: int = at_hand + min(max(workers, _FEWEST), _MOST)
        """Requests under way at once: those that workers have, and some that wait."""
        try:
            self._handles = self._orchestrator.spawn_replicas(name, workers)
        except BaseException:
            self._orchestrator.close(drain=False)
            raise

    def send(self, value: Any, timeout: float | None) -> ReplyFuture:
        """Give an item to whichever worker is free first; see `OrchestratedHandle.deliver`."""
        return self._handles[0].deliver(value, timeout=timeout)

    def pause(self) -> Pause | None:
        """What a throttled service holds all workers back for now; None: nothing."""
        return self._handles[0].pause()

    def look(self) -> list[AtWork]:
        """What each worker is doing."""
        infos = [handle.info() for handle in self._handles]
        return [
            AtWork(info.request, info.pid, info.state, info.rss, info.generation) for info in infos
        ]

    def close(self) -> None:
        """End the workers at once: who wants to wait has waited for the outcomes."""
        self._orchestrator.close(drain=False)


def check(
    factory: Callable[[], Any], name: str, settings: Settings, start_method: str | None
) -> None:
    """Refuse what `Crew` would refuse before it starts a process.

    Raises:
        TypeError, ValueError: a setting is wrong.
    """
    orchestrator = AgentOrchestrator(supervisor=PoolSupervisor(), start_method=start_method)
    settings = {**settings, "charge_requests": True}
    orchestrator.add_agent(name, factory, **settings)
