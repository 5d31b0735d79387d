"""The arithmetic of leases: when a relay must end its worker, and when a worker counts as lost.

Each answer of a relay has a *token*. The next call of the bridge returns it, and the lease then
ends ``length`` seconds after the relay has issued that token. So a call that was delayed, or that a
frozen relay reads late, does not prolong the lease beyond what the bridge counts on: the token was
issued before the answer came to the bridge.

    the relay issues a token  <=  its answer comes to the bridge
    end of the lease on the node = issued + length
    the bridge calls it lost at  = answered + length + margin

No clocks are compared: each side measures durations on its own.
"""

from __future__ import annotations

import math

_MARGIN = 0.5
"""The least seconds between the end of a lease and the report that the worker is lost. The zygote
ends the worker at the end of the lease, the kernel 0.25 s later at the latest."""


def margin(length: float) -> float:
    """Seconds that the bridge waits beyond a lease of ``length`` seconds: also for clocks that do
    not run at the same speed."""
    return max(_MARGIN, length / 8)


def interval(length: float) -> float:
    """Seconds between two calls that prolong a lease."""
    return length / 5


class HeldLease:
    """The lease as the relay knows it.

    Args:
        length: seconds.

    Attributes:
        until: the time at which the worker must have ended; infinite before the first grant.
    """

    def __init__(self, length: float) -> None:
        self._length = length
        self._token = 0
        self._issued = -math.inf
        self.until: float = math.inf

    def issue(self, now: float) -> int:
        """A new token; those before it are worth nothing from now on."""
        self._token += 1
        self._issued = now
        return self._token

    def grant(self, token: int) -> bool:
        """The bridge has returned a token.

        Returns:
            Whether it is the last one that was issued, so that `until` is later now.
        """
        if token != self._token:
            return False
        self.until = self._issued + self._length
        return True

    def is_over(self, now: float) -> bool:
        """Whether the worker must not live any longer."""
        return now >= self.until


class GrantedLease:
    """The lease as the bridge knows it.

    Args:
        length: seconds.
    """

    def __init__(self, length: float) -> None:
        self._length = length
        self._answered = -math.inf

    def answered(self, now: float) -> None:
        """The relay has answered."""
        self._answered = now

    @property
    def lost_at(self) -> float:
        """The time from which the worker is known to be dead, if no further answer comes."""
        return self._answered + self._length + margin(self._length)

    def silent_for(self, now: float) -> float:
        """Seconds since the last answer."""
        return now - self._answered
