"""The workers of a pool: how many there are, and how many of them may be busy at once."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from procorch.api.info import AgentInfo
from procorch.api.orchestrator import AgentOrchestrator
from procorch.api.pool_handle import PoolHandle
from procorch.supervision.throttle import Pause


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """A pool at one moment.

    Args:
        name: name of the workers in errors and events.
        workers: how many workers may be busy at once.
        warm_spares: how many further workers there are.
        queue: number of items that wait.
        busy: number of workers that have an item, or an error that the policy has not answered yet.
        restarts: counted restarts of all workers.
        state: "RUNNING"; "PAUSED" while a service has asked for a pause; "RECOVERING" while the
            load is increased again after a pause.
        pause: the error that asked for the pause, and its remaining time; None: there is no pause.
        allowed: how many workers may be busy at the moment; fewer than ``workers`` in a pause or
            after it.
        replicas: each worker; workers that have ended for good are not included.

    Example:
        >>> with AgentPool(lambda: str, workers=1) as pool:
        ...     print(pool.info().workers, pool.info().state)
        1 RUNNING
    """

    name: str
    workers: int
    warm_spares: int
    queue: int
    busy: int
    restarts: int
    state: str
    pause: Pause | None
    allowed: int
    replicas: tuple[AgentInfo, ...]


class Replicas:
    """Instances of one agent behind one queue, of which ``workers`` may be busy at once.

    The others are warm spares. They are ready, and idle until another instance dies or is recycled.

    Raises:
        StartError: they cannot be started.
    """

    def __init__(
        self,
        orchestrator: AgentOrchestrator,
        name: str,
        workers: int,
        spares: int,
        concurrency: int = 1,
    ) -> None:
        self._name = name
        self._concurrency = concurrency
        self._lock = threading.RLock()
        self.queue: PoolHandle = orchestrator.spawn_pool(name)
        """A handle for all instances: a request goes to the first one that is free."""
        self.workers: int = workers
        self.spares = spares
        if spares:
            self.queue.set_width(workers)

    @property
    def window(self) -> int:
        """How many requests keep all instances busy: the current ones and as many that follow."""
        return 2 * self.workers * self._concurrency

    def resize(self, workers: int) -> None:
        """Change how many instances may be busy; returns when new ones are ready.

        Instances beyond the new number finish their items and end.

        Raises:
            StartError: new instances cannot be started; nothing is changed.
        """
        with self._lock:
            self.queue.resize(workers + self.spares)
            self.workers = workers
            self.queue.mailbox.widen(self.window)
            self.queue.set_width(workers)

    def _busy_with(self, allowed: int | None) -> int:
        """How many instances may be busy with so many requests; None: any number of them."""
        return self.workers if allowed is None else -(-allowed // self._concurrency)

    def failure(self) -> BaseException | None:
        """The error that ended the last instance, if all have ended for good."""
        return self.queue.failure()

    def __len__(self) -> int:
        return len(self.queue.live())

    def info(self) -> PoolInfo:
        """All instances at the moment."""
        replicas = self.queue.live()
        pause, allowed = self.queue.throttled(), self.queue.allowed()
        state = "RUNNING" if allowed is None else "RECOVERING"
        return PoolInfo(
            name=self._name,
            workers=self.workers,
            warm_spares=self.spares,
            queue=len(self.queue.mailbox),
            busy=sum(replica.state in ("BUSY", "HUNG") for replica in replicas),
            restarts=sum(replica.restarts for replica in replicas),
            state=state if pause is None else "PAUSED",
            pause=pause,
            allowed=0 if pause else min(self.workers, self._busy_with(allowed)),
            replicas=replicas,
        )
