"""The state of one instance at run time: its mailbox, its process, and its futures."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

from procorch.launch.base import WorkerProcess
from procorch.messages import AgentResult
from procorch.runtime.mailbox import Mailbox
from procorch.runtime.output import Output
from procorch.supervision import events as ev
from procorch.supervision.instance import Instance
from procorch.supervision.policy import Policy
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import AgentStatus


@dataclass(slots=True, eq=False)
class InstanceRuntime:
    """One instance. Only the owner of the loop writes to it; other threads read attributes.

    Args:
        parent: key of the instance it was started under.
        slot: which of its agent's instances it is, from 0.
        checkpoint: the last state it stored, for its next generation (N17).
        ready: the last generation that became ready.
        fresh: futures of callers that wait for a new process, each with the value of ``ready`` when
            the call began; a later generation completes it.
        output: what its workers have written.
        last: counted restarts and the last exit, kept for after its end.
        started: done when the first start has succeeded or failed.
        ended: done when the instance has ended, with what `await_result` gives.
        imports: imports the modules that its factory comes from, see `launch.base.Code`.
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
    slot: int = 0
    checkpoint: bytes | None = field(default=None, repr=False)
    status: AgentStatus = AgentStatus.RUNNING
    ready: int = 0
    fresh: deque[tuple[int, Future[None]]] = field(default_factory=deque)
    output: Output = field(default_factory=Output)
    last: tuple[int, str | None] = (0, None)
    started: Future[None] = field(default_factory=Future)
    ended: Future[AgentResult] = field(default_factory=Future)
    imports: bytes = field(default=b"", repr=False)

    def spawned(self) -> ev.Spawn:
        """The event that adds it to the machine."""
        return ev.Spawn(
            key=self.key,
            mailbox=self.mailbox.key,
            name=self.name,
            settings=self.settings,
            supervised=self.policy is not None,
            reconsiders=hasattr(self.policy, "on_child_escalation"),
            parent=self.parent,
            slot=self.slot,
        )


_STEP_TIME = 1.0
"""Seconds to wait for the actions of one step of the machine."""


def status_of(
    instance: InstanceRuntime, find: Callable[[int], Instance | None], *, wait: bool
) -> AgentStatus:
    """The final status of an instance as soon as it is fixed, RUNNING before.

    Its requests may have their outcomes by then while its process is still ending.

    Args:
        find: returns the machine's record of a key, only for reading.
        wait: this thread may wait for the one that performs the machine's actions.
    """
    if instance.status is not AgentStatus.RUNNING or instance.generation == 0:
        return instance.status
    a = find(instance.key)
    if a is not None:
        return instance.status if a.final is None else a.final[0]
    if wait:  # it has ended in the step whose actions another thread performs now
        with suppress(Exception):
            instance.ended.exception(_STEP_TIME)
    return instance.status
