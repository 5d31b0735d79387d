"""A clock that stands still until a test moves it.

Nothing here sleeps in real time. Who blocks for real (a lock, a socket, ``time.sleep``) holds the
clock up, and after ``patience`` real seconds that is an error which names him.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from procorch.clock import Clock, Poll, Ready
from procorch.testing.virtual_scheduler import Guest, Sleeper, Turns
from procorch.units import seconds as in_seconds


class FakeClock(Clock):
    """Virtual seconds.

    Who waits for an outcome (``result()``, ``spawn()``, ``stop()``, ``close()``) lets time pass
    meanwhile, from one thing that is due to the next; else it passes in `advance` alone.

    Args:
        start: what it shows at first.
        patience: real seconds that anybody may work without a pause before that is an error.

    Example:
        >>> clock = FakeClock()
        >>> clock.advance("5m")
        >>> clock.now()
        300.0
    """

    def __init__(self, start: float = 0.0, *, patience: float = 10.0) -> None:
        self._turns = Turns(start)
        self._patience = patience
        self._driving = threading.Lock()

    # ---- for tests

    def now(self) -> float:
        """The time."""
        return self._turns.now

    def steady(self) -> float:
        return self.now()

    def wall(self) -> float:
        """The time of day: this clock begins at the epoch."""
        return self._turns.now

    def advance(self, seconds: float | str) -> None:
        """Let time pass: everything due meanwhile happens, in order and at its own time.

        Args:
            seconds: how long, also as text such as ``"5m"``.

        Raises:
            TimeoutError: somebody works on and on; the text says who.
        """
        self._must_be_outside()
        self._drive(self.now() + in_seconds(seconds, "seconds"), lambda: False)

    def settle(self) -> None:
        """Let everything happen that takes no time; raises like `advance`."""
        self._must_be_outside()
        self._settle()

    def run_until(
        self, done: Callable[[], bool] | Future[Any], *, limit: float | str = "365d"
    ) -> None:
        """Let time pass, from one thing that is due to the next, until ``done``.

        Args:
            done: a future, or a function without arguments.
            limit: the longest time that may pass.

        Raises:
            TimeoutError: it is not done, and nothing more is due within the limit.
        """
        self._must_be_outside()
        is_done = done.done if isinstance(done, Future) else done
        until = self.now() + in_seconds(limit, "limit")
        if not self._drive(until, is_done, stay=True):
            raise TimeoutError(f"not done at {self.now():g} s, and nothing more is due")

    def __repr__(self) -> str:
        return f"<FakeClock at {self.now():g} s>"

    # ---- for the runtime, see `Clock`

    def select(self, descriptors: Poll, until: float | None, wake: Callable[[], None]) -> Ready:
        """See `Clock.select`."""
        turns, who = self._turns, self._who()
        with turns.changed:
            overdue = turns.is_past(until)
            if not overdue:
                turns.loops[descriptors] = (until, wake)
                turns.give(who)
        if overdue:
            return descriptors.poll(0)
        try:
            return descriptors.poll(None)
        finally:
            with turns.changed:
                del turns.loops[descriptors]
                turns.take(who)

    def promise(self, call: Callable[[], None], who: str) -> Callable[[], None]:
        """See `Clock.promise`."""
        turns = self._turns
        with turns.changed:
            turns.take(who)

        def kept() -> None:
            turns.here.who = who
            try:
                call()
            finally:
                turns.here.who = ""
                with turns.changed:
                    turns.give(who)

        return kept

    def attend(self, done: Callable[[], bool], timeout: float | None) -> float | None:
        """See `Clock.attend`: time passes until it is done, or the timeout is over."""
        if done():
            return timeout
        until = None if timeout is None else self.now() + timeout
        if self.is_inside():
            return timeout if self._wait_as_guest(done, until) else 0.0
        while not self._drive(until, done):
            if until is not None:
                return 0.0
            with self._turns.changed:
                stirs = self._turns.changed.wait_for(
                    lambda: done() or self._may_go_on(), self._patience
                )
            if not stirs:
                raise TimeoutError(
                    "this would wait for ever: nobody is at work, and nothing is due at any time"
                )
        return timeout

    # ---- for workers

    def is_inside(self) -> bool:
        """Whether this thread is one of those that are counted: policies, callbacks, agents."""
        return bool(self._who_inside())

    def sleeper(self, who: str) -> Sleeper:
        """For a thread that is about to be started."""
        return Sleeper(self._turns, who)

    def sleeper_here(self) -> Sleeper | None:
        """That of the present thread."""
        return getattr(self._turns.here, "sleeper", None)

    # ----

    def _settle(self) -> None:
        turns = self._turns
        with turns.changed:
            if not turns.changed.wait_for(turns.at_rest, self._patience):
                busy = ", ".join(sorted(turns.working)) or "the monitor"
                raise TimeoutError(
                    f"no time can pass: {busy} did not pause for {self._patience:g} real seconds "
                    "(agents wait with procorch.testing.sleep() or asyncio.sleep())"
                )

    def _drive(self, until: float | None, done: Callable[[], bool], *, stay: bool = False) -> bool:
        """Let time pass until ``done`` (True), or up to ``until`` or while anything is due.

        Args:
            stay: at the last thing that was due, and not go on to ``until``.
        """
        turns = self._turns
        with self._driving:
            while True:
                self._settle()
                if done():
                    return True
                with turns.changed:
                    due = turns.next_due()
                    if due is None or (until is not None and due > until):
                        if until is not None and not stay:
                            turns.now = max(turns.now, until)
                        return False
                    turns.now = max(turns.now, due)
                    turns.fire()

    def _may_go_on(self) -> bool:
        return not self._turns.at_rest() or self._turns.next_due() is not None

    def _wait_as_guest(self, done: Callable[[], bool], until: float | None) -> bool:
        """One who is counted waits himself: he steps aside, and whoever moves time lets him on."""
        turns = self._turns
        guest = Guest(self._who(), done, until)
        with turns.changed:
            turns.guests.append(guest)
            turns.give(guest.who)
            if not turns.changed.wait_for(lambda: guest.free, self._patience):
                turns.guests.remove(guest)
                turns.take(guest.who)
                raise TimeoutError(f"{guest.who} waits, and nobody lets time pass")
        return done()

    def _who_inside(self) -> str:
        return getattr(self._turns.here, "who", "")

    def _who(self) -> str:
        return self._who_inside() or threading.current_thread().name

    def _must_be_outside(self) -> None:
        if self.is_inside():
            raise RuntimeError(
                f"{self._who()} cannot move the clock that waits for it: the test moves it"
            )
