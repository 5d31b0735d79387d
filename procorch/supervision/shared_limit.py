"""A limit that many processes share: who may call a service now (N23). Pure: time is an argument.

Agents, pools and batches that use one service share one `Limit`. A worker asks for a *permit*
before each call and gives it back after it. `SharedLimit` grants permits in the order in which they
were asked for,

* to at most ``concurrent`` calls at a time;
* so that calls are spread evenly over a minute, ``per_minute`` of them;
* so that the tokens of all calls are, too. How many tokens a call takes is known when it has ended,
  so a call is expected to take as many as the calls before it, and the difference is made up for;
* and if the service refuses a call, to nobody before its pause is over. Then the load comes back
  step by step (`throttle.FlowControl`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from procorch.errors import AgentError
from procorch.supervision.throttle import LONGEST, FlowControl, Pause, Throttle
from procorch.units import seconds, whole

_Ticket = TypeVar("_Ticket", bound=Hashable)

_FIRST_GUESS = 1000.0
"""Tokens that a call is expected to take before any has ended."""
_WEIGHT = 0.2
"""The weight of the last call in the mean of the tokens."""
_LAG = 0.02
"""Seconds by which a late call does not delay the next one."""


@dataclass(frozen=True, eq=False)
class Limit:
    """A limit of a service, shared by all that are given this object (N23).

    Args:
        name: how agents and errors name it. Agents of LLM libraries find the limit that has the
            name of their model's provider, such as ``"openai"``, by themselves.
        concurrent: how many calls may be under way at a time; None: any number.
        per_minute: how many calls may begin in a minute, spread evenly; None: any number.
        tokens_per_minute: how many tokens the calls of a minute may take; None: any number.
        retries: how often a model's call that the service refused (429) is tried again, after the
            pause that the service asked for. Then the request fails with `ModelThrottled`.
        longest: the longest pause in seconds, or text such as ``"2m"``, also if the service asks
            for more.

    Raises:
        TypeError, ValueError: a number is of a wrong type or out of range.

    Example:
        >>> Limit("openai", concurrent=20, per_minute=1500).longest
        300.0
    """

    name: str
    concurrent: int | None = None
    per_minute: float | None = None
    tokens_per_minute: float | None = None
    retries: int = 8
    longest: float | str = LONGEST

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"a limit's name must be a non-empty string, not {self.name!r}")
        if self.concurrent is not None:
            whole(self.concurrent, "concurrent", least=1)
        for name in ("per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number, not {type(value).__name__}")
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be more than 0, not {value}")
        whole(self.retries, "retries")
        object.__setattr__(self, "longest", seconds(self.longest, "longest"))


class LimitState(NamedTuple):
    """A limit at one moment.

    Args:
        under_way: calls that have a permit.
        waiting: calls that wait for one.
        pause: the pause that the service has asked for; None: there is none.

    Example:
        >>> LimitState(under_way=3, waiting=0, pause=None).under_way
        3
    """

    under_way: int
    waiting: int
    pause: Pause | None


class SharedLimit(Generic[_Ticket]):
    """Decides who gets a permit. A *ticket* is any value that names one call."""

    def __init__(self, limit: Limit) -> None:
        self._concurrent = limit.concurrent
        rate = None if limit.per_minute is None else limit.per_minute / 60
        throttle = Throttle(limit.retries, seconds(limit.longest, "longest"))
        self._flow = FlowControl(throttle, rate)
        tokens = limit.tokens_per_minute
        self._token_time = 0.0 if tokens is None else 60 / tokens
        self._expected = _FIRST_GUESS
        self._tokens_at = -math.inf
        self._waiting: dict[_Ticket, None] = {}
        self._held: dict[_Ticket, float] = {}

    @property
    def waiting(self) -> bool:
        """Whether a call waits for a permit."""
        return bool(self._waiting)

    def waits(self, ticket: _Ticket) -> bool:
        """Whether a call has asked for a permit and has none."""
        return ticket in self._waiting

    def ask(self, ticket: _Ticket) -> None:
        """A call waits for a permit from now on."""
        self._waiting[ticket] = None

    def grant(self, now: float) -> list[_Ticket]:
        """The tickets of the calls that may begin now; they hold a permit from now on."""
        granted = []
        while self._waiting and self.opens_at(now) <= now:
            ticket = next(iter(self._waiting))
            del self._waiting[ticket]
            self._held[ticket] = self._expected
            self._flow.sent(now)
            self._spend(self._expected, now)
            granted.append(ticket)
        return granted

    def opens_at(self, now: float) -> float:
        """When the next permit can be granted; infinite: when a call has ended."""
        busy = len(self._held)
        if self._concurrent is not None and busy >= self._concurrent:
            return math.inf
        return max(self._tokens_at, self._flow.opens_at(now, busy))

    def end(self, ticket: _Ticket, now: float, tokens: int) -> None:
        """A call that had a permit has ended, and the service did not refuse it."""
        if ticket in self._held:
            self._release(ticket, now, tokens)
            if tokens:
                self._expected += _WEIGHT * (tokens - self._expected)
            self._flow.answered(now, self._width)

    def refused(self, ticket: _Ticket, error: AgentError, now: float) -> float | None:
        """The service has refused a call: nobody gets a permit before the pause is over.

        Returns:
            The length of a new or extended pause in seconds; None: the current pause goes on.
        """
        if ticket not in self._held:
            return None
        pause = self._flow.throttled(error, now, len(self._held))
        self._release(ticket, now, 0)
        return pause

    def drop(self, ticket: _Ticket, now: float) -> bool:
        """A call will not begin, or nobody knows how it ended, since its process has died.

        Returns:
            Whether it still waited for its permit.
        """
        if ticket in self._held:
            self._release(ticket, now, 0)
            return False
        self._waiting.pop(ticket, None)
        return True

    def state(self, now: float) -> LimitState:
        """The limit at the moment."""
        flow = self._flow
        left = flow.until - now
        pause = None if flow.why is None or left <= 0 else Pause(left, flow.why)
        return LimitState(len(self._held), len(self._waiting), pause)

    @property
    def _width(self) -> int:
        """How many calls are under way in full operation."""
        wanted = len(self._held) + len(self._waiting)
        return max(1, wanted if self._concurrent is None else min(wanted, self._concurrent))

    def _release(self, ticket: _Ticket, now: float, tokens: int) -> None:
        self._spend(tokens - self._held.pop(ticket), now)

    def _spend(self, tokens: float, now: float) -> None:
        if self._token_time:
            self._tokens_at = max(self._tokens_at, now - _LAG) + tokens * self._token_time
