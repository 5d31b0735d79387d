"""The words for where an agent is."""

from __future__ import annotations

from enum import Enum, IntEnum


class AgentStatus(Enum):
    """What a handle reports (seed); STOPPED: ended on request or with its group."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"


class Phase(Enum):
    """Where an instance is in its life. Only `Core.enter` assigns one."""

    WAITING = "waiting"
    """Wants a process, waits for a start slot (N10)."""
    STARTING = "starting"
    """The process exists and builds its agent."""
    READY = "ready"
    """Takes requests, one at a time."""
    JUDGING = "judging"
    """An error lies with the policy; no request goes out meanwhile."""
    RETIRING = "retiring"
    """The old process is on its way out, a new one follows."""
    BACKOFF = "backoff"
    """No process; the next start has a set time."""
    STOPPING = "stopping"
    """Ends for good; its final status is fixed, its process is leaving."""
    DONE = "done"
    """Ended."""


class Signal(IntEnum):
    """The rungs on which a process is made to end, weakest first (N8)."""

    LEAVE = 0
    """A message: finish and exit."""
    TERMINATE = 1
    """SIGTERM to the process group, SIGCONT with it for a stopped one."""
    KILL = 2
    """SIGKILL to the process group."""
    GIVE_UP = 3
    """Nothing helped; report it and release the callers."""
