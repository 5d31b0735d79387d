"""The workers of a batch: instances of one agent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from procorch.agents.command import Command
from procorch.agents.result_files import Named
from procorch.api.orchestrator import AgentOrchestrator
from procorch.batch.records import SourceItem
from procorch.futures.reply import ReplyFuture
from procorch.supervision.budgets import ModelUse
from procorch.supervision.keywords import CommonSettings
from procorch.supervision.policy import PoolSupervisor
from procorch.supervision.settings import AgentSettings
from procorch.supervision.throttle import Pause, Throttle

if TYPE_CHECKING:
    from procorch.launch.ray.backend import RayBackend

_FEWEST_WAITING, _MOST_WAITING = 8, 64
"""Requests that wait for a worker, so that none is idle while the next item is read."""


class WorkerState(Struct, frozen=True):
    """A worker at one moment.

    Args:
        request: number of the request that it has; None: it is idle, or starting.
        pid: process id; None: there is no process.
        state: as users see it, such as "BUSY" or "BACKOFF".
        rss: resident bytes.
        generation: how many processes the worker has had.
    """

    request: int | None
    pid: int | None
    state: str
    rss: int
    generation: int


class Workers:
    """Starts the workers; all of them are ready when ``__init__`` returns.

    Args:
        orchestrator: to be used, and closed at the end; None: make one.
        ahead: have some items wait for a worker, so that none is idle while the next one is read.

    Raises:
        StartError: the workers cannot be started.
        TypeError: an unknown setting.
        ValueError: an unknown start method.
    """

    def __init__(
        self, factory: Callable[[], Any], count: int, name: str, settings: CommonSettings,
        start_method: str | None = None, seed: int = 0,
        orchestrator: AgentOrchestrator | None = None, preload: Sequence[str] = (),
        backend: str | RayBackend | None = None, ahead: bool = True,
    ) -> None:  # fmt: skip
        if orchestrator is None:
            orchestrator = AgentOrchestrator(
                start_method=start_method, seed=seed, preload=preload, backend=backend
            )
        self._orchestrator = orchestrator.with_supervisor(PoolSupervisor())
        self._orchestrator.with_channel_buffer(_MOST_WAITING)
        self._named = isinstance(factory, Command) and factory.results is not None
        throttle = settings.get("throttle")
        if isinstance(throttle, Throttle):
            # The workers pause; the batch itself tries the item again, and records each attempt.
            settings = {**settings, "throttle": dataclasses.replace(throttle, retries=0)}
        self._orchestrator.add_agent(name, factory, instances=count, **_as_pool(settings))
        at_once = count * settings.get("concurrency", 1)
        waiting = min(max(at_once, _FEWEST_WAITING), _MOST_WAITING)
        each = settings.get("prefetch", "auto")
        # What adapts takes from those that wait.
        self.window: int = at_once * (1 if each == "auto" else each) + waiting * ahead
        """Requests under way at once: those that workers have, and some that wait."""
        try:
            self._queue = self._orchestrator.spawn_pool(name)
        except BaseException:
            self._orchestrator.close(drain=False)
            raise

    def send(self, item: SourceItem, timeout: float | None) -> ReplyFuture:
        """Send an item to the first worker that is free; see `OrchestratedHandle.deliver`."""
        value = Named(item.id, item.value) if self._named else item.value
        return self._queue.deliver(value, timeout=timeout)

    def pause(self) -> Pause | None:
        """The pause of all workers that a service has asked for; None: they do not pause."""
        return self._queue.throttled()

    def usage(self) -> dict[str, ModelUse]:
        """What the workers have used of models so far, by the name of the model."""
        return self._orchestrator.usage()

    def states(self) -> list[WorkerState]:
        """What each worker is doing."""
        return [
            WorkerState(row.request, row.pid, row.state, row.rss, row.generation)
            for row in self._queue.info().instances
        ]

    def close(self) -> None:
        """End the workers at once, without waiting for outcomes."""
        self._orchestrator.close(drain=False)


def check_settings(
    factory: Callable[[], Any], name: str, settings: CommonSettings, start_method: str | None,
    preload: Sequence[str], backend: str | RayBackend | None = None,
) -> None:  # fmt: skip
    """Refuse what `Workers` would refuse before it starts a process.

    Raises:
        TypeError, ValueError: a setting is wrong.
    """
    AgentSettings.must_suit_a_pool(settings)
    orchestrator = AgentOrchestrator(
        supervisor=PoolSupervisor(), start_method=start_method, preload=preload, backend=backend
    )
    orchestrator.add_agent(name, factory, **_as_pool(settings))


def _as_pool(settings: CommonSettings) -> CommonSettings:
    """A death during an item does not count against the restart limits, as in a pool."""
    return {**settings, "charge_requests": True}
