"""The state of a running agent, and of its instances, at one moment."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from procorch.launch.base import Figures
from procorch.memory import peak_rss
from procorch.runtime.instance_runtime import AgentRuntime, InstanceRuntime
from procorch.runtime.monitor import Monitor
from procorch.supervision.budgets import ModelUse
from procorch.supervision.states import AgentStatus

_BEST = (
    "READY",
    "BUSY",
    "RUNNING",
    "PAUSED",
    "DRAINING",
    "HUNG",
    "STARTING",
    "WAITING",
    "BACKOFF",
    "STOPPING",
)
"""The states of instances; the first of these that one has is that of the agent."""


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """The state of an agent, or of one of its instances, at one moment.

    Args:
        name: the name of the agent.
        instance: a number that no other agent or instance of the orchestrator has.
        pid: process id; None: it has no process. Of an agent: that of its first instance, and so
            are the generation and the last exit.
        generation: number of its process, from 1; 0: none was started yet.
        state: STARTING, WAITING (for a node of the cluster that has room), READY, BUSY, RUNNING (a
            service), PAUSED (idle, because a service that it uses asked for a pause, or after
            `OrchestratedHandle.pause`), BACKOFF, DRAINING, HUNG, STOPPING, or its final status. Of
            an agent: the best state of its instances, so that BUSY means that none of them is free;
            EMPTY: it was scaled to 0.
        queue: how many requests wait.
        restarts: counted restarts since it was spawned, of all its instances.
        last_exit: how the previous process ended, as text; None before the first end.
        request: number of the request that its process runs (`ReplyFuture.request`); None: it is
            idle, or the process has ended.
        cpu: user and system time of the current processes, in seconds.
        rss: resident memory of the processes now, in bytes.
        peak_rss: the most resident memory they have had, in bytes.
        release: number of the release that the process comes from (N19). Of an agent: that of its
            first instance.
        slot: which of the agent's instances it is, from 0. Of an agent: that of its first one.
        size: how many instances the agent is to have.
        instances: a row for each instance in the order of their slots; empty in such a row.
        node: id of the node of the cluster that its process runs on; None: it runs on this
            machine, or is not placed yet. Of an agent: that of its first instance.
        waiting: why it is not placed on a node yet, in the state WAITING; None: it is.
        usage: what the agents of this name and those below them have used of models, by the name of
            the model.

    Example:
        >>> with TestOrchestrator() as orch:
        ...     orch.add_agent("solver", ScriptedAgent())
        ...     info = orch.spawn("solver").info()
        ...     print(info.state, info.generation, info.queue)
        READY 1 0
    """

    name: str
    instance: int
    pid: int | None
    generation: int
    state: str
    queue: int
    restarts: int
    last_exit: str | None
    request: int | None
    release: int
    cpu: float
    rss: int
    peak_rss: int
    slot: int = 0
    size: int = 1
    instances: tuple[AgentInfo, ...] = ()
    node: str | None = None
    waiting: str | None = None
    usage: Mapping[str, ModelUse] = field(default_factory=dict)


def info_of(agent: AgentRuntime, monitor: Monitor) -> AgentInfo:
    """The state of an agent with its instances."""
    rows = tuple(row_of(each, monitor) for each in agent.slots())
    states = [row.state for row in rows]
    state = next((state for state in _BEST if state in states), "EMPTY")
    if agent.status is not AgentStatus.RUNNING:
        state = agent.status.name
    first = next((row for row in rows if row.pid is not None), rows[0] if rows else None)
    return AgentInfo(
        name=agent.name,
        instance=agent.number,
        pid=None if first is None else first.pid,
        generation=0 if first is None else first.generation,
        state=state,
        queue=len(agent.mailbox),
        restarts=sum(row.restarts for row in rows),
        last_exit=None if first is None else first.last_exit,
        release=agent.release if first is None else first.release,
        request=next((row.request for row in rows if row.request is not None), None),
        cpu=sum(row.cpu for row in rows),
        rss=sum(row.rss for row in rows),
        peak_rss=sum(row.peak_rss for row in rows),
        slot=0 if first is None else first.slot,
        size=agent.size,
        instances=rows,
        node=None if first is None else first.node,
        waiting=next((row.waiting for row in rows if row.waiting is not None), None),
        usage=monitor.calls.accounts.used_by(agent.name),
    )


def row_of(instance: InstanceRuntime, monitor: Monitor) -> AgentInfo:
    """The state of one instance."""
    state, restarts, last_exit, request = monitor.look(instance)
    process = instance.process if instance.status is AgentStatus.RUNNING else None
    where = None if process is None else process.where
    return _inspect(
        instance.pid if instance.status is AgentStatus.RUNNING else None,
        None if process is None else process.figures,
        node=None if where is None else where.node,
        waiting=monitor.placing(instance),
        name=instance.name,
        instance=instance.key,
        generation=instance.generation,
        state=state,
        queue=len(instance.agent.mailbox),
        restarts=restarts,
        last_exit=last_exit,
        request=request,
        release=instance.release,
        slot=instance.slot,
        size=instance.agent.size,
        usage=monitor.calls.accounts.used_by(instance.name),
    )


def _inspect(pid: int | None, figures: Figures | None, **known: Any) -> AgentInfo:
    """An `AgentInfo` with the figures of the process ``pid``; None: the figures are zero.

    Args:
        figures: those of a process on another machine; None: it is on this one.
    """
    if figures is not None:
        return AgentInfo(
            pid=pid, cpu=figures.cpu, rss=figures.rss, peak_rss=figures.peak_rss, **known
        )
    import psutil  # slow to import, and only needed here

    cpu, rss, peak = 0.0, 0, 0
    if pid is not None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)  # oneshot() would cost more: each figure has a file
            times, memory = process.cpu_times(), process.memory_info()
            cpu, rss, peak = times.user + times.system, memory.rss, memory.rss
        peak = peak_rss(pid) or peak
    return AgentInfo(pid=pid, cpu=cpu, rss=rss, peak_rss=peak, **known)
