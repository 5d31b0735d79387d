"""The restart decision, and the limits of restarts (N2)."""

from __future__ import annotations

from collections import deque
from enum import Enum

from procorch.supervision.keywords import Restart
from procorch.supervision.limits import OFTEN, Backoff, Intensity
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.settings import AgentSettings

_MINUTE = 60.0
_WORKED = 10.0
"""Seconds after which a service that returns has done something, as systemd takes it."""


class ExitKind(Enum):
    """How an agent failed or ended: the subject of the restart decision."""

    FAILED = "failed"
    """Its request failed; its process is alive and can go on."""
    DIED = "died"
    """Its process ended unexpectedly (N0, abnormal)."""
    FINISHED = "finished"
    """It finished by itself (N0, normal)."""


class Verdict(Enum):
    """The decision about an agent."""

    KEEP = "keep"
    REPLACE = "replace"
    STOP = "stop"
    """Ends FAILED, stopped by its supervisor."""
    FAIL = "fail"
    """Ends FAILED with its own error, because there is no policy."""
    COMPLETE = "complete"
    """Ends COMPLETED."""


def decide(
    restart: Restart, exit: ExitKind, action: SupervisorAction | None, *, allowed: bool
) -> Verdict:
    """The restart decision (seed; N5, N6).

    Args:
        restart: the agent's restart type.
        exit: how it failed or ended.
        action: the policy's answer; None: there is no policy, or it was not asked.
        allowed: the limits of N2 permit one more restart.
    """
    match restart, exit, action:
        case "permanent", ExitKind.FINISHED, _:
            return Verdict.REPLACE if allowed else Verdict.STOP
        case _, ExitKind.FINISHED, _:
            return Verdict.COMPLETE
        case _, ExitKind.FAILED, (SupervisorAction.ESCALATE | None):
            return Verdict.KEEP
        case _, _, SupervisorAction.STOP:
            return Verdict.STOP
        case (_, ExitKind.DIED, None) | ("temporary", ExitKind.DIED, _):
            return Verdict.FAIL
        case "temporary", _, _:
            return Verdict.STOP
        case _:
            return Verdict.REPLACE if allowed else Verdict.STOP


class Retry(Enum):
    """The decision about a request after a failed attempt."""

    AGAIN = "again"
    GIVE_UP = "give up"
    """It fails with the error of the attempt."""
    POISON = "poison"
    """It has killed too many workers and fails with a `PoisonRequest`."""


def retry(*, attempts: int, deaths: int, retries: int, allowed_failures: int) -> Retry:
    """Whether a request is tried again (N3).

    A request that has attempts left is poison if it has killed too many workers. A request without
    attempts left fails with its own error, however many workers it has killed.

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
    """Restarts of one group in a sliding window (OTP's intensity). A success does not clear it.

    Attributes:
        intensity: how many restarts it may have.
    """

    __slots__ = ("_at", "intensity")

    def __init__(self, intensity: Intensity) -> None:
        self.intensity: Intensity = intensity
        self._at: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Whether one more restart at ``now`` stays within the intensity; both ends inclusive."""
        while self._at and self._at[0] < now - self.intensity.period:
            self._at.popleft()
        return len(self._at) < self.intensity.restarts

    def count(self, now: float) -> None:
        """One restart happened."""
        self._at.append(now)


class RestartLimits:
    """Counts restarts of one agent, and decides whether and when the next one may happen.

    *Consecutive*: at most ``max_restarts`` restarts between two successes.
    A service has a success when it was ready for ``reset_after`` seconds; if it then returns,
    10 seconds are enough. So one that returns at once is restarted no more often than one that
    dies at once.
    *Backoff*: a delay only. It is reset by a success, and by ``reset_after`` seconds of readiness.
    After many restarts within a minute the delay is at least ``floor`` in any case.
    """

    __slots__ = ("_attempts", "_backoff", "_max", "_recent", "_service", "consecutive", "total")

    def __init__(self, settings: AgentSettings, *, service: bool = False) -> None:
        self.configure(settings)
        self._service = service
        self._attempts = 0
        self._recent: deque[float] = deque(maxlen=OFTEN)
        self.consecutive: int = 0
        self.total: int = 0

    def configure(self, settings: AgentSettings) -> None:
        """Decide by these settings from now on; what was counted stays counted."""
        self._max: int = settings.max_restarts
        self._backoff: Backoff = settings.backoff

    @property
    def allowed(self) -> bool:
        """Whether one more restart is within the budget."""
        return self.consecutive < self._max

    def succeeded(self) -> None:
        """A request of the current generation succeeded. That of a service is its whole life, and
        `was_ready` decides about it."""
        if self._service:
            return
        self.consecutive = 0
        if self._backoff.reset_on_success:
            self._attempts = 0

    def was_ready(self, since: float, now: float, *, returned: bool = False) -> None:
        """The generation that has ended was ready from ``since`` until ``now``.

        Args:
            returned: it is a service, and its function has returned.
        """
        enough = self._backoff.reset_after
        if returned:
            enough = min(enough, _WORKED)
        if now - since >= enough:
            self._attempts = 0
            if self._service:
                self.consecutive = 0

    def count(self, now: float, chance: float, asked: float = 0.0) -> float:
        """Count one restart at ``now``.

        Args:
            chance: in [0, 1], draws the delay.
            asked: the pause in seconds that a throttled service asked for (`retry_after`).

        Returns:
            The seconds to wait before it: the backoff, and no less than was asked for.
        """
        self.consecutive += 1
        self.total += 1
        self._attempts += 1
        recent = sum(at >= now - _MINUTE for at in self._recent)
        self._recent.append(now)
        return max(asked, self._backoff.delay(self._attempts, chance, recent))
