"""What the machine knows about one instance of an agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from procorch.errors import AgentError
from procorch.supervision.restarts import RestartLimits
from procorch.supervision.settings import AgentSettings
from procorch.supervision.states import AgentStatus, Phase, Signal


class Pending(NamedTuple):
    """An error to be judged; ``request`` is None for an idle death or a failed start."""

    request: int | None
    error: AgentError
    payload: object = None


@dataclass(slots=True, eq=False)
class Instance:
    """One running agent. Only the machine writes to it; others may read single attributes.

    Args:
        inflight: requests written to the current process, in the order of writing.
        alive: a process of ``generation`` was launched and has not been seen to end.
        reason: why we ended the current process (memory limit, broken stream, failed start); it
            is the error of what was in flight, in place of the bare exit.
        excused: the current process was ended for the sake of one request (its deadline, its
            cancellation), so its exit is *requested* (N0) and its successor is not counted (N1).
        pending: the error that lies with the policy.
        delay: seconds of backoff before the next start.
        final: how it ends, fixed when the stopping begins.
        rung: the last rung of the ladder taken against the current process.
    """

    key: int
    mailbox: int
    name: str
    settings: AgentSettings
    supervised: bool
    limits: RestartLimits
    phase: Phase = Phase.WAITING
    status: AgentStatus = AgentStatus.RUNNING
    generation: int = 0
    alive: bool = False
    announced: bool = False
    ready_at: float | None = None
    inflight: list[int] = field(default_factory=list)
    draining: AgentStatus | None = None
    reason: AgentError | None = None
    excused: bool = False
    ticket: int = 0
    pending: Pending | None = None
    delay: float = 0.0
    final: tuple[AgentStatus, AgentError | None] | None = None
    rung: Signal | None = None
