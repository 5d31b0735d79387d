"""What a monitor is told (N18): one frozen value an event, public."""

from __future__ import annotations

from msgspec import Struct

from procorch.errors import AgentError
from procorch.supervision.states import AgentStatus


class Notice(Struct, frozen=True, kw_only=True):
    """Every event: the agent's name, its generation, monotonic seconds."""

    agent: str
    generation: int
    at: float


class Starting(Notice, frozen=True, kw_only=True):
    """A process is being started."""


class Ready(Notice, frozen=True, kw_only=True):
    """The process has built its agent and takes requests."""


class Crashed(Notice, frozen=True, kw_only=True):
    """The process died without having been asked to."""

    error: AgentError


class Restarting(Notice, frozen=True, kw_only=True):
    """The agent gets a new process; ``restart`` of ``max_restarts`` since its last success.

    ``counted``: False where the agent is not to blame (N1).
    """

    counted: bool
    restart: int
    max_restarts: int


class BackingOff(Notice, frozen=True, kw_only=True):
    """The next start comes after ``delay`` seconds."""

    delay: float


class Escalated(Notice, frozen=True, kw_only=True):
    """The policy answered ESCALATE."""

    error: AgentError


class Stopped(Notice, frozen=True, kw_only=True):
    """The agent has ended."""

    status: AgentStatus
    error: AgentError | None


class Unreaped(Notice, frozen=True, kw_only=True):
    """A process outlived SIGKILL for longer than the kill wait; it may still be there."""

    pid: int | None
