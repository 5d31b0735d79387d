"""The children of an agent, as `AgentOrchestrator.which_children` tells of them (OTP)."""

from __future__ import annotations

from dataclasses import dataclass

from procorch.api.handle import OrchestratedHandle
from procorch.supervision.keywords import Restart


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One registered child.

    Args:
        handle: its live instance, None while it does not run.
        state: "running", "restarting" or "stopped".
    """

    name: str
    handle: OrchestratedHandle | None
    state: str
    restart: Restart


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """How many children are registered, run, have children of their own, and have none (OTP)."""

    specs: int
    active: int
    supervisors: int
    workers: int


def running_state(state: str) -> str:
    """The one word of OTP for the state of an agent that runs."""
    return "running" if state in ("READY", "BUSY", "PAUSED", "DRAINING") else "restarting"
