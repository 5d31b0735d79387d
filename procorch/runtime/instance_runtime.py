"""What belongs to one instance at run time: its mailbox, its process, and who waits for it."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from procorch.launch.base import WorkerProcess
from procorch.messages import AgentResult
from procorch.runtime.mailbox import Mailbox
from procorch.runtime.output import Output
from procorch.supervision import events as ev
from procorch.supervision.policy import Policy
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import AgentStatus


@dataclass(slots=True, eq=False)
class InstanceRuntime:
    """One instance. Written on the monitor thread alone; others read single attributes.

    Args:
        parent: key of the instance it was started under.
        checkpoint: the last state it stored, for its next generation (N17).
        ready: the last generation that became ready.
        fresh: who waits for one after that which was ready when they came.
        output: what its workers have written.
        last: what remains to be told of it after its end: counted restarts, the last exit.
        started: done when the first start has succeeded or failed.
        ended: done when the instance has ended, with what `await_result` gives.
    """

    key: int
    name: str
    settings: AgentSettings
    factory: bytes = field(repr=False)
    mailbox: Mailbox
    policy: Policy | None = None
    process: WorkerProcess | None = None
    pid: int | None = None
    generation: int = 0
    parent: int | None = None
    checkpoint: bytes | None = field(default=None, repr=False)
    status: AgentStatus = AgentStatus.RUNNING
    ready: int = 0
    fresh: deque[tuple[int, Future[None]]] = field(default_factory=deque)
    output: Output = field(default_factory=Output)
    last: tuple[int, str | None] = (0, None)
    started: Future[None] = field(default_factory=Future)
    ended: Future[AgentResult] = field(default_factory=Future)

    def spawned(self) -> ev.Spawn:
        """What tells the machine of it."""
        return ev.Spawn(
            key=self.key,
            mailbox=self.mailbox.key,
            name=self.name,
            settings=self.settings,
            supervised=self.policy is not None,
            reconsiders=hasattr(self.policy, "on_child_escalation"),
            parent=self.parent,
        )
