"""The words for where an agent is."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import TYPE_CHECKING


class AgentStatus(Enum):
    """What a handle reports (seed); STOPPED: ended on request or with its group."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"


class Phase(Enum):
    """Where an instance is in its life. Only `Core.enter` assigns one."""

    if not TYPE_CHECKING:  # type checkers would take it for an override of another type
        __hash__ = object.__hash__  # Enum's own is a function of Python, and slow

    WAITING = "waiting"
    """Wants a process, waits for a start slot (N10)."""
    STARTING = "starting"
    """The process exists and builds its agent."""
    READY = "ready"
    """Takes requests, one at a time."""
    AWAITING_POLICY = "judging"
    """An error lies with the policy; no request goes out meanwhile."""
    RETIRING = "retiring"
    """The old process is on its way out, a new one follows."""
    HELD = "held"
    """No process, and its turn has not come: to start with its group (N5), or to end (N7)."""
    BACKOFF = "backoff"
    """No process; the next start has a set time."""
    STOPPING = "stopping"
    """Ends for good; its final status is fixed, its process is leaving."""
    DONE = "done"
    """Ended."""


class StopStage(IntEnum):
    """The stages of the ladder that ends a request or a process, weakest first (N8)."""

    LEAVE = 0
    """A message: finish and exit."""
    COOPERATE = 1
    """The request is told that it is cancelled; an asyncio task is cancelled."""
    INTERRUPT = 2
    """An exception is raised in the agent's code, if it is still at that request."""
    TERMINATE = 3
    """SIGTERM to the process group, SIGCONT with it for a stopped one."""
    STACK = 4
    """The stacks of its threads are written down; for a hung one, before it is killed."""
    KILL = 5
    """SIGKILL to the process group and to what has left it."""
    GIVE_UP = 6
    """Nothing helped; report it and release the callers."""

    @property
    def next(self) -> StopStage:
        """What comes when this stage did not help in its time."""
        return _NEXT[self]

    @property
    def spares_process(self) -> bool:
        """Whether the process may live on once the request has ended."""
        return self in (StopStage.COOPERATE, StopStage.INTERRUPT)


_NEXT = {
    StopStage.LEAVE: StopStage.TERMINATE,
    StopStage.COOPERATE: StopStage.INTERRUPT,
    StopStage.INTERRUPT: StopStage.TERMINATE,
    StopStage.TERMINATE: StopStage.KILL,
    StopStage.STACK: StopStage.KILL,
    StopStage.KILL: StopStage.GIVE_UP,
}
