"""Settings of an agent as frozen values, checked when they are given.

Durations are seconds as numbers or text (``"500ms"``, ``"30s"``, ``"5m"``, ``"2h"``), sizes are
bytes as numbers or text (``"512M"``, ``"2G"``: powers of 1024).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*$")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*$", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def seconds(value: float | str, what: str = "duration") -> float:
    """A duration in seconds; ``ValueError`` or ``TypeError`` naming ``what`` when it is none."""
    if isinstance(value, str):
        match = _DURATION.match(value)
        if match is None:
            raise ValueError(f"{what}: {value!r} is not a duration; write 30, '30s', '5m' or '2h'")
        return float(match[1]) * _DURATION_UNITS[match[2]]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} must be a duration, not {type(value).__name__}")
    if math.isnan(value) or value < 0:
        raise ValueError(f"{what} must not be negative, and {value} is")
    return float(value)


def size_in_bytes(value: int | str, what: str = "size") -> int:
    """A size in bytes; ``ValueError`` or ``TypeError`` naming ``what`` when it is none."""
    if isinstance(value, str):
        match = _SIZE.match(value)
        if match is None:
            raise ValueError(f"{what}: {value!r} is not a size; write 1048576, '512M' or '2G'")
        value = int(float(match[1]) * _SIZE_UNITS[match[2].upper()])
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be a size in bytes, not {type(value).__name__}")
    if value <= 0:
        raise ValueError(f"{what} must be more than 0 bytes, not {value}")
    return value


def whole(value: object, what: str, *, least: int = 0) -> int:
    """A whole number of at least ``least``, or an error that names ``what``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be a whole number, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{what} must be {least} or more, not {value}")
    return value


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
    """

    initial: float = 0.1
    factor: float = 2.0
    cap: float = 30.0
    jitter: bool = True
    reset_after: float = 60.0

    def __post_init__(self) -> None:
        for name in ("initial", "cap", "reset_after"):
            object.__setattr__(self, name, seconds(getattr(self, name), f"backoff.{name}"))
        if self.factor < 1:
            raise ValueError(f"backoff.factor must be 1 or more, not {self.factor}")
        if self.cap < self.initial:
            raise ValueError(
                f"backoff.cap ({self.cap} s) is shorter than backoff.initial ({self.initial} s)"
            )

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds before restart number ``attempt`` (1 is the first); ``chance`` in [0, 1]."""
        if attempt <= 1 or self.initial == 0:
            return 0.0
        # Past this exponent the cap rules in any case, and the power could overflow a float.
        steps = min(attempt - 2, 1000 if self.factor == 1 else int(700 / math.log(self.factor)))
        full = min(self.cap, self.initial * self.factor**steps)
        return full * chance if self.jitter else full


@dataclass(frozen=True, slots=True)
class Shutdown:
    """How an agent's process is ended, rung by rung (N8).

    Args:
        grace: seconds a process that was asked to leave may take before it gets SIGTERM.
        terminate: seconds between SIGTERM and SIGKILL.
        kill: seconds after SIGKILL until the process is reported as ``Unreaped``.
    """

    grace: float = 5.0
    terminate: float = 2.0
    kill: float = 5.0

    def __post_init__(self) -> None:
        for field in fields(self):
            name = field.name
            object.__setattr__(self, name, seconds(getattr(self, name), f"shutdown.{name}"))


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """All settings of one agent, resolved and checked.

    Args:
        max_restarts: consecutive restarts without a success in between (N2).
        backoff: the delay between restarts.
        shutdown: the times of the ladder that ends a process.
        start_timeout: seconds from the start of a process until it is ready (N9).
        request_timeout: seconds a request may take, waiting in the queue included; None: no limit.
        memory_limit: resident bytes of the worker's process, sampled; None: no limit.
        channel_buffer: requests that may wait in the queue before senders have to.
        charge_requests: a death in the middle of a request is the request's fault and not counted
            against the agent (pools).
    """

    max_restarts: int = 3
    backoff: Backoff = Backoff()
    shutdown: Shutdown = Shutdown()
    start_timeout: float = 60.0
    request_timeout: float | None = None
    memory_limit: int | None = None
    channel_buffer: int = 32
    charge_requests: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> AgentSettings:
        """Settings from keywords or a file's keys.

        Raises:
            TypeError: an unknown key (with the nearest valid name), or a value of a wrong type.
            ValueError: a value out of range, or settings that contradict each other.
        """
        known = [field.name for field in fields(cls)]
        for key in given:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
                raise TypeError(f"unknown setting {key!r}{hint}")
        values = dict(given)
        if "max_restarts" in values:
            whole(values["max_restarts"], "max_restarts")
        if "channel_buffer" in values:
            whole(values["channel_buffer"], "channel_buffer", least=1)
        for name, kind in (("backoff", Backoff), ("shutdown", Shutdown)):
            if name in values and not isinstance(values[name], kind):
                raise TypeError(
                    f"{name} must be {kind.__name__}(...), not {type(values[name]).__name__}"
                )
        for name in ("start_timeout", "request_timeout"):
            if values.get(name) is not None:
                values[name] = seconds(values[name], name)
                if values[name] == 0:
                    raise ValueError(f"{name} must be more than 0 s")
        if "start_timeout" in values and values["start_timeout"] is None:
            raise TypeError("start_timeout must be a duration, not None: a start has a deadline")
        if values.get("memory_limit") is not None:
            values["memory_limit"] = size_in_bytes(values["memory_limit"], "memory_limit")
        return cls(**values)
