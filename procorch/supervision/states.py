"""The states of agents, and the stages of the ladder."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import TYPE_CHECKING


class AgentStatus(Enum):
    """What a handle reports; STOPPED: ended on request or with its group.

    Example:
        >>> AgentStatus.COMPLETED.name
        'COMPLETED'
    """

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"


class Phase(Enum):
    """The phase of an instance. Only `Core.enter` assigns it."""

    if not TYPE_CHECKING:  # type checkers would take it for an override of another type
        __hash__ = object.__hash__  # Enum's own is a function of Python, and slow

    WAITING = "waiting"
    """Waits for a start slot (N10)."""
    STARTING = "starting"
    """The process exists and builds its agent."""
    READY = "ready"
    """Accepts requests, and runs one at a time, or as many as its ``concurrency``."""
    AWAITING_POLICY = "awaiting policy"
    """The policy decides about an error; no request is sent meanwhile. Others that run at once go
    on."""
    RETIRING = "retiring"
    """The old process is being ended; a new one follows."""
    HELD = "held"
    """No process; waits for its turn to start with its group (N5), or to end (N7)."""
    BACKOFF = "backoff"
    """No process; waits for the time of the next start."""
    STOPPING = "stopping"
    """Its final status is fixed, and its process is being ended."""
    DONE = "done"
    """Ended."""


class StopStage(IntEnum):
    """The stages of the ladder that ends a request or a process, weakest first (N8)."""

    LEAVE = 0
    """Send a message: finish and exit."""
    COOPERATE = 1
    """Tell the request that it is cancelled; an asyncio task is cancelled."""
    INTERRUPT = 2
    """Raise an exception in the agent's code, if it still runs that request."""
    TERMINATE = 3
    """Send SIGTERM to the process group, and SIGCONT in case it is stopped."""
    STACK = 4
    """Have a hung process write the stacks of its threads before it is killed."""
    KILL = 5
    """Send SIGKILL to the process group and to descendants that have left it."""
    GIVE_UP = 6
    """Report that SIGKILL had no effect, and release the callers."""

    @property
    def next(self) -> StopStage:
        """The stage that follows if this one had no effect in its time."""
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
