"""Settings with several fields: backoff, intensity and shutdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from procorch.units import seconds, whole

OFTEN = 10
"""Restarts within a minute after which a restart waits for at least `Backoff.floor`."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The delay before a restart (N2): none before the first, then exponential up to a cap.

    Args:
        initial: seconds before the second restart in a row, at most.
        factor: growth for each further restart.
        cap: the longest delay in seconds.
        jitter: draw the delay evenly between 0 and its full length, so that a hundred agents
            which failed together do not come back together.
        reset_after: seconds of readiness after which the next restart is a first one again.
        reset_on_success: the next restart is also a first one after a request that succeeded.
            False: only after ``reset_after`` seconds, so that an agent which answers between its
            crashes waits longer before each restart.
        floor: the shortest delay, up to ``cap``, once there were `OFTEN` restarts within a minute.
            Without it an agent that answers between its crashes could restart without any pause.

    Raises:
        TypeError, ValueError: a field is of a wrong type or out of range, or ``cap`` is less than
            ``initial``.

    Example:
        >>> backoff = Backoff(initial=1.0, cap=30.0, jitter=False)
        >>> [backoff.delay(attempt, chance=1.0) for attempt in range(1, 8)]
        [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
    """

    initial: float = 0.1
    factor: float = 2.0
    cap: float = 30.0
    jitter: bool = True
    reset_after: float = 60.0
    reset_on_success: bool = True
    floor: float = 1.0

    def __post_init__(self) -> None:
        for name in ("initial", "cap", "reset_after", "floor"):
            object.__setattr__(self, name, seconds(getattr(self, name), f"backoff.{name}"))
        if isinstance(self.factor, bool) or not isinstance(self.factor, int | float):
            raise TypeError(f"backoff.factor must be a number, not {type(self.factor).__name__}")
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"backoff.factor must be 1 or more, not {self.factor}")
        for name in ("jitter", "reset_on_success"):
            if not isinstance(value := getattr(self, name), bool):
                raise TypeError(f"backoff.{name} must be bool, not {type(value).__name__}")
        if self.cap < self.initial:
            raise ValueError(
                f"backoff.cap ({self.cap} s) is shorter than backoff.initial ({self.initial} s)"
            )

    def __setstate__(self, state: Sequence[Any]) -> None:
        """Load a pickle; a pickle of version 0.1 lacks the last fields."""
        for each in fields(self):
            object.__setattr__(self, each.name, each.default)
        for each, value in zip(fields(self), state, strict=False):
            object.__setattr__(self, each.name, value)

    def delay(self, attempt: int, chance: float, recent: int = 0) -> float:
        """Seconds before restart number ``attempt`` (1 is the first).

        Args:
            chance: in [0, 1], draws the delay.
            recent: restarts of the last minute.
        """
        if self.initial == 0:
            return 0.0
        floor = min(self.floor, self.cap) if recent >= OFTEN else 0.0
        return max(floor, self._grown(attempt, chance))

    def _grown(self, attempt: int, chance: float) -> float:
        if attempt <= 1:
            return 0.0
        # Beyond this exponent the cap applies in any case, and the power could overflow a float.
        steps = min(attempt - 2, 1000 if self.factor == 1 else int(700 / math.log(self.factor)))
        full = min(self.cap, self.initial * self.factor**steps)
        return full * chance if self.jitter else full


@dataclass(frozen=True, slots=True)
class Intensity:
    """At most ``restarts`` restarts of a group in any ``period`` seconds, ends inclusive (OTP).

    The group of an agent are its children; an agent without children is a group of its own.

    Raises:
        TypeError, ValueError: a field is of a wrong type or out of range.

    Example:
        >>> Intensity(restarts=5, period=60)
        Intensity(restarts=5, period=60.0)
    """

    restarts: int
    period: float

    def __post_init__(self) -> None:
        whole(self.restarts, "intensity.restarts")
        object.__setattr__(self, "period", seconds(self.period, "intensity.period"))
        if self.period == 0:
            raise ValueError("intensity.period must be more than 0 s")

    def fitting_backoff(self) -> Backoff:
        """The default backoff, capped so that the window can fill."""
        usual = Backoff()
        cap = min(usual.cap, self.period / (self.restarts + 1))
        return Backoff(initial=min(usual.initial, cap), cap=cap)

    def check_against(self, backoff: Backoff) -> None:
        """Refuse a backoff so long that the window could never fill (N2).

        Raises:
            ValueError: ``restarts + 1`` restarts in a row take longer than ``period`` by their
                delays alone (with jitter, by half of them, which is their mean).
        """
        chance = 0.5 if backoff.jitter else 1.0
        tries = range(2, min(self.restarts, 10_000) + 2)
        needed = sum(backoff.delay(attempt, chance, attempt - 1) for attempt in tries)
        if needed > self.period:
            raise ValueError(
                f"{self.restarts + 1} restarts take {needed:.3g} s by their backoff alone, so that "
                f"they can never fall into {self.period:g} s: shorten the backoff or lengthen "
                "intensity.period"
            )


@dataclass(frozen=True, slots=True)
class Shutdown:
    """How an agent's request, or its process, is ended, stage by stage (N8).

    Args:
        cooperate: seconds a request may take to end by itself after it was told that it is
            cancelled (``current().cancelled``; an asyncio task is cancelled).
        interrupt: seconds between the exception raised in the agent's code and SIGTERM.
        grace: seconds a process that was asked to leave may take before it gets SIGTERM.
        terminate: seconds between SIGTERM and SIGKILL.
        kill: seconds after SIGKILL until the process is reported as ``Unreaped``.

    Raises:
        TypeError, ValueError: a field is no number of seconds of 0 or more.

    Example:
        >>> Shutdown(grace="30s").grace
        30.0
    """

    cooperate: float = 0.2
    interrupt: float = 1.0
    grace: float = 5.0
    terminate: float = 2.0
    kill: float = 5.0

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self)):
            object.__setattr__(self, name, seconds(getattr(self, name), f"shutdown.{name}"))
