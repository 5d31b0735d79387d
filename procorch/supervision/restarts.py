"""The limits of N2 on one agent, and the restart decision."""

from __future__ import annotations

from enum import Enum

from procorch.supervision.policy import SupervisorAction
from procorch.supervision.settings import AgentSettings, Backoff


class Verdict(Enum):
    """What becomes of an agent after a failure."""

    KEEP = "keep"
    REPLACE = "replace"
    STOP = "stop"
    FAIL = "fail"


class RestartLimits:
    """Counts restarts of one agent and says whether, and when, the next one may happen.

    *Consecutive* (seed): exactly ``max_restarts`` pass between two successes, the next does not.
    *Backoff*: a delay only; it starts over after ``reset_after`` seconds of readiness.
    """

    __slots__ = ("_attempts", "_backoff", "_max", "consecutive", "total")

    def __init__(self, settings: AgentSettings) -> None:
        self._max = settings.max_restarts
        self._backoff: Backoff = settings.backoff
        self._attempts = 0
        self.consecutive = 0
        self.total = 0

    @property
    def allowed(self) -> bool:
        """Whether one more restart is within the budget."""
        return self.consecutive < self._max

    def succeeded(self) -> None:
        """A request of the current generation succeeded."""
        self.consecutive = 0

    def was_ready(self, since: float, now: float) -> None:
        """The generation that just ended had been ready from ``since`` until ``now``."""
        if now - since >= self._backoff.reset_after:
            self._attempts = 0

    def count(self, chance: float) -> float:
        """Count one restart; the seconds to wait before it, ``chance`` in [0, 1] drawing them."""
        self.consecutive += 1
        self.total += 1
        self._attempts += 1
        return self._backoff.delay(self._attempts, chance)


def decide(action: SupervisorAction | None, *, dead: bool, allowed: bool) -> Verdict:
    """The consequence of a policy's answer (seed; N6 for a dead process).

    Args:
        action: the policy's answer, None where there is no policy.
        dead: the process has ended, so the agent cannot be kept.
        allowed: the limits of N2 permit one more restart.
    """
    match action, dead:
        case ((SupervisorAction.ESCALATE | None), False):
            return Verdict.KEEP
        case None, True:
            return Verdict.FAIL
        case ((SupervisorAction.RESTART | SupervisorAction.ESCALATE), _) if allowed:
            return Verdict.REPLACE
        case _:
            return Verdict.STOP
