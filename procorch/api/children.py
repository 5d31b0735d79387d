"""The children of an agent, as `AgentOrchestrator.which_children` describes them (OTP)."""

from __future__ import annotations

from dataclasses import dataclass

from procorch.api.handle import OrchestratedHandle
from procorch.supervision.keywords import Restart


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One registered child.

    Args:
        name: its name.
        handle: its running instance; None while it does not run.
        state: "running", "restarting" or "stopped".
        restart: its restart type.
    """

    name: str
    handle: OrchestratedHandle | None
    state: str
    restart: Restart


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """Numbers of children (OTP).

    Args:
        specs: registered children.
        active: children that run.
        supervisors: children that have children themselves.
        workers: children that have none.
    """

    specs: int
    active: int
    supervisors: int
    workers: int


def running_state(state: str) -> str:
    """OTP's word for the state of an agent that runs: "running" or "restarting"."""
    return "running" if state in ("READY", "BUSY", "PAUSED", "DRAINING") else "restarting"
