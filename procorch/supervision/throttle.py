"""Flow control for a service that asks for fewer requests (N23). Pure: the time is an argument.

All replicas behind one queue share one `FlowControl`. An answer that asks for a pause stops the
queue for all of them; only requests that workers have already go on. After the pause the load comes
back step by step, as in TCP after a loss. First, one request may be under way. Each answer allows
one more, up to half of the number when the pause began. From there on, one more is allowed after as
many answers as requests are under way. Answers may take long, so each second adds one as well.

If answers are quick, even one request at a time may be too many. So `_Pace` measures how many
requests a second the service has answered. After a pause, requests begin a little more slowly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from procorch.errors import AgentError, ModelThrottled
from procorch.units import seconds, whole

LONGEST = 300.0
"""The longest pause in seconds, or wait before a restart, that a service can ask for."""
_FIRST, _GROWTH, _MOST = 0.25, 2.0, 5.0
"""Seconds of the first pause if the service names none; the growth of further ones; the longest.
A pause that the service names is extended to this length: a shorter one may have had no effect."""
_SLOWER, _SLOWEST, _PACED = 0.9, 1.0, 60.0
"""The part of its measured rate that a service gets after a pause; the lowest rate in requests a
second that is enforced; seconds until the measured rate is no longer used."""
_SPAN = 10.0
"""The shortest time in seconds over which a rate is measured, if there were so many."""
_STEP = 1.0
"""Seconds after which one more request may be under way without an answer."""
_LAG = 0.02
"""Seconds by which a late request does not delay the next one."""


@dataclass(frozen=True, slots=True)
class Throttle:
    """What happens to a request whose service asks for a pause (`AgentError.retry_after`, N23).

    Args:
        retries: how often it is tried again after a pause, before it fails. 0: its error goes to
            the caller and the policy; if the policy keeps the agent, its queue waits.
        longest: the longest pause, or wait before a restart, in seconds, also if the service asks
            for more.

    Raises:
        TypeError, ValueError: a field is of a wrong type or out of range.

    Example:
        >>> Throttle(retries=3, longest="2m").longest
        120.0
    """

    retries: int = 8
    longest: float = LONGEST

    def __post_init__(self) -> None:
        whole(self.retries, "throttle.retries")
        object.__setattr__(self, "longest", seconds(self.longest, "throttle.longest"))


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause at one moment.

    Args:
        left: seconds until it ends.
        error: the error that asked for it.

    Example:
        >>> print(Pause(left=2.0, error=ModelThrottled(agent="planner")))
        paused 2 s: throttled by agent 'planner': the model's rate limit was reached
    """

    left: float
    error: AgentError

    def __str__(self) -> str:
        return f"paused {math.ceil(self.left)} s: throttled by {self.error}"


def is_throttled(error: AgentError | None) -> bool:
    """Whether an error asks for a pause."""
    return error is not None and (
        isinstance(error, ModelThrottled) or error.retry_after is not None
    )


class _Pace:
    """How many requests a second a service accepts, measured at its refusals.

    The rate counts the answers since the previous refusal (its pause included), or the recent ones.
    The pace begins a little below that rate and rises, at first by 2 % a second, then faster, until
    the next refusal.

    Attributes:
        answers: how many requests were answered in the current span, which ends at ``look_at``.
    """

    __slots__ = ("_base", "_before", "_begun", "_resumes", "answers", "look_at")

    def __init__(self) -> None:
        self._base: float | None = None
        self._resumes = 0.0
        self._begun: tuple[float, float] | None = None  # of the span before, and of this one
        self._before = 0
        self.answers: int = 0
        self.look_at: float = -math.inf

    def answered(self, now: float) -> None:
        """One request was answered without a refusal."""
        self.answers += 1
        if now >= self.look_at:
            self.begin_span(now)

    def begin_span(self, now: float) -> None:
        """Begin a new span, which includes the last answer."""
        self._begun = (now if self._begun is None else self._begun[1], now)
        self._before, self.answers = self.answers - 1, 1
        self.look_at = now + _SPAN

    def refused(self, now: float, until: float) -> None:
        """The service has refused a request; the pause ends at ``until``."""
        answers = self._before + self.answers
        if answers and self._begun is not None:
            rate = _SLOWER * answers / max(1.0, now - self._begun[0])
            self._base = rate if rate >= _SLOWEST else None
        self._resumes = until
        self._begun, self._before, self.answers = (now, now), 0, 0
        self.look_at = now + _SPAN

    def gap(self, now: float) -> float:
        """Seconds between the starts of two requests."""
        if self._base is None:
            return 0.0
        after = max(0.0, now - self._resumes)
        if after > _PACED:
            self._base = None
            return 0.0
        return 1 / (self._base * (1 + 0.02 * after + (after / 20) ** 3))

    @property
    def active(self) -> bool:
        """Whether it holds anything back."""
        return self._base is not None


class FlowControl:
    """How many requests of one queue may be under way, and when the next one may begin.

    Args:
        throttle: what to do when the service asks for a pause; None: nothing.
        rate: requests a second at most; None: any number.

    Attributes:
        until: when the latest pause ends.
        active: it may hold something back at the moment.
        allowed: how many requests may be under way while load comes back; None: any number.
        why: the error that asked for the latest pause.
    """

    __slots__ = (
        "_answers", "_gap", "_grows_at", "_in_a_row", "_next", "_steady", "active", "allowed",
        "pace", "throttle", "until", "why",
    )  # fmt: skip

    def __init__(self, throttle: Throttle | None, rate: float | None = None) -> None:
        self.throttle: Throttle | None = throttle
        self.until: float = -math.inf
        self.allowed: int | None = None
        self.why: AgentError | None = None
        self._gap = 0.0 if rate is None else 1 / rate
        self.active: bool = self._gap > 0
        self._next = -math.inf
        self.pace: _Pace = _Pace()
        self._steady = 1
        self._answers = 0
        self._grows_at = math.inf
        self._in_a_row = 0

    def configure(self, throttle: Throttle | None, rate: float | None, now: float) -> None:
        """Go on with another throttle and another rate; without a throttle a pause is over."""
        self.throttle = throttle
        self._gap = 0.0 if rate is None else 1 / rate
        self._next = min(self._next, now + self._gap)
        if throttle is None:
            self.until, self.allowed, self.why, self.pace = -math.inf, None, None, _Pace()
            self._in_a_row = 0
        self.active = self._gap > 0 or self.allowed is not None or self.pace.active

    def opens_at(self, now: float, busy: int) -> float:
        """When one more request may begin; ``now`` or earlier: at once.

        Args:
            busy: how many are under way.
        """
        at = self._next
        if self.allowed is not None:
            if now >= self._grows_at:
                self.allowed += 1
                self._grows_at = now + _STEP
            at = max(at, self.until if busy < self.allowed else self._grows_at)
        return at

    def sent(self, now: float) -> None:
        """One request begins."""
        gap = max(self._gap, self.pace.gap(now))
        if gap:
            self._next = max(self._next, now - _LAG) + gap
        self.active = self._gap > 0 or self.allowed is not None or self.pace.active

    def throttled(self, error: AgentError, now: float, busy: int) -> float | None:
        """The service has asked for a pause.

        Args:
            busy: how many requests were under way, this one included.

        Returns:
            The length of a new or extended pause in seconds; None: the current pause goes on.
        """
        if self.throttle is None:
            return None
        paused = now < self.until
        if not paused:
            self._steady = max(1, (self.allowed or busy) // 2)
            self._in_a_row += 1
        asked = error.retry_after or 0.0
        usual = min(_MOST, _FIRST * _GROWTH ** min(self._in_a_row - 1, 10))
        before = self.until
        # NaN compares false, so it counts as 0.
        pause = min(self.throttle.longest, max(usual, asked if asked > 0 else 0.0))
        self.until = max(before, now + pause)
        if not paused:
            self.pace.refused(now, self.until)
        self.active, self.allowed, self._answers = True, 1, 0
        self._grows_at = self.until + _STEP
        if paused and self.until <= before + _STEP:
            return None
        self.why = error
        return pause

    def answered(self, now: float, width: int) -> bool:
        """A request has ended without a refusal.

        Args:
            width: how many may be under way in full operation.

        Returns:
            Whether this was the last step: the load is back to normal.
        """
        self.pace.answered(now)
        if self.allowed is None or now < self.until:
            return False  # Answers to requests sent before the pause do not count.
        self._in_a_row = 0
        self._answers += 1
        if self.allowed < self._steady or self._answers >= self.allowed:
            self.allowed += 1
            self._answers = 0
            self._grows_at = now + _STEP
        if self.allowed < width:
            return False
        self.allowed = self.why = None
        self.active = self._gap > 0 or self.pace.active
        return True
