"""The state of agents and their instances at run time: mailbox, processes, futures."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

from msgspec import Struct, field

from procorch.launch.base import Code, WorkerProcess
from procorch.messages import AgentResult
from procorch.runtime.mailbox import Mailbox
from procorch.runtime.output import Output
from procorch.supervision import events as ev
from procorch.supervision.budgets import Payer
from procorch.supervision.instance import Instance
from procorch.supervision.policy import Policy
from procorch.supervision.request import Request
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import AgentStatus


class AgentRuntime(Struct, eq=False):
    """One running agent at run time: what its instances share.

    Args:
        factory: serialised. ``imports``: imports the modules that it comes from, see
            `launch.base.Code`.
        release: the release that a new instance comes from (N19).
        mailbox: its queue; the number of the queue identifies the agent for the machine.
        parent: the number of the agent it was started under.
        size: how many instances it is to have: the slots 0 to ``size`` - 1.
        service: it runs by itself and takes no requests.
        instances: one for each slot, in any order. An instance that has ended by itself stays here
            until another one takes its slot.
        payers: whom its calls of models are charged to: itself, and the agents above it.
        make: makes the record of a new instance in a slot.
        resizing: held while the number of instances is changed.
        ended: done when the agent has ended, with what `await_result` gives.
    """

    name: str
    settings: AgentSettings
    factory: bytes
    mailbox: Mailbox
    make: Callable[[AgentRuntime, int], InstanceRuntime]
    policy: Policy | None = None
    imports: bytes = b""
    release: int = 1
    parent: int | None = None
    payers: tuple[Payer, ...] = ()
    size: int = 1
    service: bool = False
    instances: list[InstanceRuntime] = field(default_factory=list)
    resizing: threading.RLock = field(default_factory=threading.RLock)
    status: AgentStatus = AgentStatus.RUNNING
    ended: Future[AgentResult] = field(default_factory=Future)

    @property
    def number(self) -> int:
        """The number that identifies it."""
        return self.mailbox.key

    def slots(self) -> list[InstanceRuntime]:
        """Its instances in the order of their slots."""
        return sorted(self.instances, key=lambda instance: (instance.slot, instance.key))

    def live(self) -> list[InstanceRuntime]:
        """Those that have not ended."""
        return [each for each in self.slots() if each.status is AgentStatus.RUNNING]


class InstanceRuntime(Struct, eq=False):
    """One instance. Only the owner of the loop writes to it; other threads read attributes.

    Args:
        agent: what it is an instance of.
        slot: which of its agent's instances it is, from 0.
        retired: it was told to end, and its agent goes on.
        run: the request that a service runs by itself in its current process.
        checkpoint: the last state it stored, for its next generation (N17).
        successor: the generation that is the first one of another release, until it serves; else 0.
        successor_checkpoint: the last state which that one stored, until it serves.
        ready: the last generation that became ready.
        fresh: futures of callers that wait for a new process, each with the value of ``ready`` when
            the call began; a later generation completes it.
        output: what its workers have written.
        last: counted restarts and the last exit, kept for after its end.
        beside: a second process, while its release is replaced (`supervision.beside`).
        release: the release of its current process, or at first of its next one.
        reload: done when its release was replaced, or could not be.
        started: done when the first start has succeeded or failed.
        ended: done when the instance has ended.
    """

    key: int
    agent: AgentRuntime
    slot: int = 0
    retired: bool = False
    run: Request | None = None
    process: WorkerProcess | None = None
    pid: int | None = None
    generation: int = 0
    checkpoint: bytes | None = None
    successor: int = 0
    successor_checkpoint: bytes | None = None
    status: AgentStatus = AgentStatus.RUNNING
    ready: int = 0
    fresh: deque[tuple[int, Future[None]]] = field(default_factory=deque)
    output: Output = field(default_factory=Output)
    last: tuple[int, str | None] = (0, None)
    started: Future[None] = field(default_factory=Future)
    ended: Future[None] = field(default_factory=Future)
    beside: WorkerProcess | None = None
    release: int = 1
    reload: Future[None] | None = None

    @property
    def name(self) -> str:
        """The name of its agent."""
        return self.agent.name

    @property
    def settings(self) -> AgentSettings:
        """The settings of its agent."""
        return self.agent.settings

    def process_of(self, generation: int) -> WorkerProcess | None:
        """Its process of that generation, if that has been started and was not replaced."""
        for process in (self.process, self.beside):
            if process is not None and process.spec.generation == generation:
                return process
        return None

    def keep_checkpoint(self, generation: int, state: bytes) -> None:
        """Keep the state that its process of that generation has stored, unless another one has
        taken over since. That of a successor replaces the one before when the successor serves."""
        if generation == self.successor:
            self.successor_checkpoint = state
        elif generation == self.generation:
            self.checkpoint = state

    def follow_with(self, generation: int) -> None:
        """A process of that generation is started, the first one of another release."""
        self.successor, self.successor_checkpoint = generation, None

    def serves(self, generation: int) -> None:
        """Its process of that generation serves from now on."""
        self.ready = generation
        if generation == self.successor:
            self.checkpoint = self.successor_checkpoint or self.checkpoint
            self.successor, self.successor_checkpoint = 0, None

    def pid_of(self, generation: int) -> int | None:
        """The process id of that generation, if it is known."""
        process = self.process_of(generation)
        where = None if process is None else process.where
        return self.pid if where is None else where.pid

    def code(self, release: int, paths: Sequence[str]) -> Code:
        """Where the code of its process comes from; ``paths``: where modules are looked for."""
        env = tuple(sorted(self.settings.env.items()))
        return Code(release, self.agent.imports, env, self.settings.cwd, tuple(paths))

    def spawned(self, *, joins: bool) -> ev.Spawn:
        """The event that adds it to the machine; ``joins``: to an agent that is there."""
        agent = self.agent
        return ev.Spawn(
            key=self.key,
            mailbox=agent.number,
            name=agent.name,
            settings=agent.settings,
            supervised=agent.policy is not None,
            reconsiders=hasattr(agent.policy, "on_child_escalation"),
            parent=agent.parent,
            slot=self.slot,
            joins=joins,
            service=agent.service,
            release=self.release,
        )


_STEP_TIME = 1.0
"""Seconds to wait for the actions of one step of the machine."""


def status_of(
    agent: AgentRuntime, find: Callable[[int], Instance | None], *, wait: bool
) -> AgentStatus:
    """The final status of an agent as soon as it is fixed, RUNNING before.

    Its requests may have their outcomes by then while its processes are still ending.

    Args:
        find: returns the machine's record of a key, only for reading.
        wait: this thread may wait for the one that performs the machine's actions.
    """
    status = agent.status
    for instance in agent.live():
        a = find(instance.key)
        if instance.generation == 0 or (a is not None and a.final is None):
            return AgentStatus.RUNNING
        if a is not None and a.final is not None and a.team.leaving:
            status = a.final[0] if a.team.final is None else a.team.final[0]
        elif a is None and wait:  # it has ended in the step whose actions are performed now
            with suppress(Exception):
                agent.ended.exception(_STEP_TIME)
    return status if agent.status is AgentStatus.RUNNING else agent.status
