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
