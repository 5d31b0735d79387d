"""The replicas of a pool: how many there are, and how many of them may be busy."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from procorch.api.handle import OrchestratedHandle
from procorch.api.info import AgentInfo
from procorch.api.orchestrator import AgentOrchestrator
from procorch.supervision.throttle import Pause


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """A pool at one moment.

    Args:
        workers: how many replicas may be busy at once.
        warm_spares: how many there are beyond that.
        queue: items that wait.
        busy: replicas that work on an item, or have it judged.
        restarts: counted restarts of all replicas.
        state: "RUNNING"; "PAUSED" while a throttled service wants to be left alone; "RECOVERING"
            while load comes back after that.
        pause: what it is paused for, and how long still; None: it is not.
        allowed: how many replicas may be busy at the moment; fewer than ``workers`` while paused or
            recovering.
        replicas: each of them; one that has ended for good is not among them.
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

    Those beyond are warm spares: ready, and idle until another one dies or is recycled.

    Raises:
        StartError: they do not start.
    """

    def __init__(
        self, orchestrator: AgentOrchestrator, name: str, workers: int, spares: int
    ) -> None:
        self._orchestrator = orchestrator
        self._name = name
        self._lock = threading.RLock()
        self._handles = list(orchestrator.spawn_replicas(name, workers + spares))
        self.queue: OrchestratedHandle = self._handles[0]
        """Stands for all of them: what is sent to it goes to whoever is free first."""
        self.workers: int = workers
        self.spares = spares
        if spares:
            self.queue.set_width(workers)

    @property
    def window(self) -> int:
        """How many requests keep all of them busy: the one they work on, and the next."""
        return 2 * self.workers

    def resize(self, workers: int) -> None:
        """Have ``workers`` of them; returns when new ones are ready.

        Those that are too many finish what they work on, and what waits is for the others.

        Raises:
            StartError: new ones do not start; nothing is changed.
        """
        with self._lock:
            live = self._live()
            missing = workers + self.spares - len(live)
            if missing > 0:
                live += self._orchestrator.spawn_replicas(self._name, missing, beside=self.queue)
            self.workers = workers
            self.queue.mailbox.widen(self.window)
            self.queue.set_width(workers)
            if missing < 0:
                for handle in live[missing:]:
                    handle.drain()
            self._handles = live

    def _live(self) -> list[OrchestratedHandle]:
        return [handle for handle in self._handles if not handle.is_done()]

    def failure(self) -> BaseException | None:
        """What ended the last of them, if all have ended for good."""
        if self._live():
            return None
        return self._handles[-1].failure()

    def __len__(self) -> int:
        return len(self._live())

    def info(self) -> PoolInfo:
        """All of them as they are now."""
        replicas = tuple(handle.info() for handle in self._live())
        pause, allowed = self.queue.pause(), self.queue.allowed()
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
            allowed=0 if pause else min(self.workers, allowed or self.workers),
            replicas=replicas,
        )
