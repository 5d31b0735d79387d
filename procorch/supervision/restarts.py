"""The limits of N2, and the restart decision."""

from __future__ import annotations

from collections import deque
from enum import Enum

from procorch.supervision.keywords import Restart
from procorch.supervision.limits import OFTEN, Backoff, Intensity
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.settings import AgentSettings

_MINUTE = 60.0


class Exit(Enum):
    """What the decision is about: how the agent stands after an event."""

    FAILED = "failed"
    """Its request failed; the process is alive and could go on."""
    DIED = "died"
    """Its process is gone without having been asked to (N0, abnormal)."""
    FINISHED = "finished"
    """It ended by itself and in order (N0, normal)."""


class Verdict(Enum):
    """What becomes of an agent."""

    KEEP = "keep"
    REPLACE = "replace"
    STOP = "stop"
    """Ends FAILED, stopped by its supervisor."""
    FAIL = "fail"
    """Ends FAILED with its own error: nobody was there to decide."""
    COMPLETE = "complete"
    """Ends COMPLETED."""


def decide(
    restart: Restart, exit: Exit, action: SupervisorAction | None, *, allowed: bool
) -> Verdict:
    """The restart decision (seed; N5, N6).

    Args:
        restart: the agent's restart type.
        exit: how it stands.
        action: the policy's answer; None where there is no policy or nothing to ask it about.
        allowed: the limits of N2 permit one more restart.
    """
    match restart, exit, action:
        case "permanent", Exit.FINISHED, _:
            return Verdict.REPLACE if allowed else Verdict.STOP
        case _, Exit.FINISHED, _:
            return Verdict.COMPLETE
        case _, Exit.FAILED, (SupervisorAction.ESCALATE | None):
            return Verdict.KEEP
        case _, _, SupervisorAction.STOP:
            return Verdict.STOP
        case (_, Exit.DIED, None) | ("temporary", Exit.DIED, _):
            return Verdict.FAIL
        case "temporary", _, _:
            return Verdict.STOP
        case _:
            return Verdict.REPLACE if allowed else Verdict.STOP


class Retry(Enum):
    """What becomes of a request after an attempt that failed."""

    AGAIN = "again"
    GIVE_UP = "give up"
    """It fails with the error of the attempt."""
    POISON = "poison"
    """It has killed too many workers and fails with a `PoisonRequest`."""


def retry(*, attempts: int, deaths: int, retries: int, allowed_failures: int) -> Retry:
    """Whether a request is tried again (N3).

    A request that would get a further attempt is poison if it has killed too many workers. Without
    attempts left it fails with its own error, however many workers it has killed.

    Args:
        attempts: how often it was tried.
        deaths: in how many of these attempts its worker died.
        retries: how many attempts it may have after the first one.
        allowed_failures: how many workers it may kill.
    """
    if attempts > retries:
        return Retry.GIVE_UP
    return Retry.AGAIN if deaths <= allowed_failures else Retry.POISON


class Window:
    """Restarts of one group in a sliding window (OTP's intensity). A success does not clear it."""

    __slots__ = ("_at", "_intensity")

    def __init__(self, intensity: Intensity) -> None:
        self._intensity = intensity
        self._at: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Whether one more restart at ``now`` stays within the intensity; both ends inclusive."""
        while self._at and self._at[0] < now - self._intensity.period:
            self._at.popleft()
        return len(self._at) < self._intensity.restarts

    def count(self, now: float) -> None:
        """One restart happened."""
        self._at.append(now)


class RestartLimits:
    """Counts restarts of one agent and says whether, and when, the next one may happen.

    *Consecutive* (seed): exactly ``max_restarts`` pass between two successes, the next does not.
    *Backoff*: a delay only; it starts over after a success, and after ``reset_after`` seconds of
    readiness. Many restarts within a minute wait for at least ``floor`` all the same.
    """

    __slots__ = ("_attempts", "_backoff", "_max", "_recent", "consecutive", "total")

    def __init__(self, settings: AgentSettings) -> None:
        self._max = settings.max_restarts
        self._backoff: Backoff = settings.backoff
        self._attempts = 0
        self._recent: deque[float] = deque(maxlen=OFTEN)
        self.consecutive: int = 0
        self.total: int = 0

    @property
    def allowed(self) -> bool:
        """Whether one more restart is within the budget."""
        return self.consecutive < self._max

    def succeeded(self) -> None:
        """A request of the current generation succeeded."""
        self.consecutive = 0
        if self._backoff.reset_on_success:
            self._attempts = 0

    def was_ready(self, since: float, now: float) -> None:
        """The generation that just ended had been ready from ``since`` until ``now``."""
        if now - since >= self._backoff.reset_after:
            self._attempts = 0

    def count(self, now: float, chance: float, asked: float = 0.0) -> float:
        """Count one restart at ``now``.

        Args:
            chance: in [0, 1], draws the delay.
            asked: seconds that a throttled service wants to be left alone (`retry_after`).

        Returns:
            The seconds to wait before it: the backoff, and no less than was asked for.
        """
        self.consecutive += 1
        self.total += 1
        self._attempts += 1
        recent = sum(at >= now - _MINUTE for at in self._recent)
        self._recent.append(now)
        return max(asked, self._backoff.delay(self._attempts, chance, recent))
