"""The children of an agent, as `AgentOrchestrator.which_children` describes them (OTP)."""

from __future__ import annotations

from dataclasses import dataclass

from procorch.api.handle import OrchestratedHandle
from procorch.supervision.keywords import Restart
from procorch.supervision.states import AgentStatus


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One registered child, or one instance of it.

    Args:
        name: its name.
        handle: the running agent, with all its instances; None while it does not run.
        state: "running", "restarting" or "stopped".
        restart: its restart type.
        instance: which of its instances this is, from 0.

    Example:
        >>> with TestOrchestrator() as orch:
        ...     orch.add_agent("team", ScriptedAgent())
        ...     orch.add_child("writer", "team", ScriptedAgent())
        ...     print(orch.which_children("team")[0].state)
        stopped
    """

    name: str
    handle: OrchestratedHandle | None
    state: str
    restart: Restart
    instance: int = 0


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """Numbers of children (OTP).

    Args:
        specs: registered children.
        active: instances of them that have not ended.
        supervisors: instances that are to run of children that have children themselves.
        workers: instances that are to run of children that have none.

    Example:
        >>> ChildCounts(specs=1, active=1, supervisors=0, workers=1) + ChildCounts(1, 0, 1, 0)
        ChildCounts(specs=2, active=1, supervisors=1, workers=1)
    """

    specs: int
    active: int
    supervisors: int
    workers: int

    def __add__(self, other: ChildCounts) -> ChildCounts:
        return ChildCounts(
            self.specs + other.specs,
            self.active + other.active,
            self.supervisors + other.supervisors,
            self.workers + other.workers,
        )


def running_state(state: str) -> str:
    """OTP's word for the state of an agent that runs: "running" or "restarting"."""
    if state in ("READY", "BUSY", "RUNNING", "PAUSED", "DRAINING"):
        return "running"
    return "stopped" if state in AgentStatus.__members__ else "restarting"
