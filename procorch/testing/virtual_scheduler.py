"""Who is at work in virtual time, and whose turn is next.

Time may move on only when all is at rest, or a test would race its own agents. So everybody who
works for an orchestrator is counted while he works: the monitor (except where its loop waits),
policies and callbacks from the moment they are promised, agents while it is their turn. At rest
means: nobody counted, nobody in line for a turn, no loop with something to read.

Agents take turns, one at a time and first come, first served, so that the same test is the same
history every time. The race closed here: one who was woken but does not run yet counts already. A
sleeper is put in line by whoever wakes it; a loop that was woken has its wake-up to read, and that
is seen without taking it away.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable

from procorch.clock import Poll
from procorch.supervision.timers import Timers


class Guest:
    """Somebody of those who are counted, waiting for an outcome."""

    def __init__(self, who: str, done: Callable[[], bool], until: float | None) -> None:
        self.who = who
        self.done = done
        self.until = until
        self.free = False


class Turns:
    """The books. Its methods, and its attributes, are for those who hold `changed`.

    Attributes:
        now: the time.
        changed: notified when all is at rest.
        loops: the loops that wait, with the time they wait for and what ends the wait.
        here: what is known of the present thread: ``who`` it is, its ``sleeper``.
    """

    def __init__(self, now: float) -> None:
        self.now = now
        self.lock: threading.Lock = threading.Lock()
        self.changed: threading.Condition = threading.Condition(self.lock)
        self.working: Counter[str] = Counter()
        self.line: deque[Sleeper] = deque()
        self.alarms: Timers[Sleeper] = Timers()
        self.loops: dict[Poll, tuple[float | None, Callable[[], None]]] = {}
        self.guests: list[Guest] = []
        self.here: threading.local = threading.local()

    def take(self, who: str) -> None:
        """``who`` works."""
        self.working[who] += 1

    def give(self, who: str) -> None:
        """``who`` pauses, or is done."""
        self.working[who] -= 1
        if not self.working[who]:
            del self.working[who]
        self.pass_on()

    def pass_on(self) -> None:
        """If nobody works, it is the next one's turn; if there is none, all is at rest."""
        if self.working or self._stirs():
            return
        if self.line:
            self.line.popleft().go()
            return
        for guest in self.guests:
            if guest.done() or self.is_past(guest.until):
                self.guests.remove(guest)
                self.take(guest.who)
                guest.free = True
                break
        self.changed.notify_all()

    def at_rest(self) -> bool:
        """Whether nothing will happen before time passes."""
        return not (self.working or self.line or self._stirs())

    def _stirs(self) -> bool:
        """Whether a loop that waits has something to read, and so is about to go on."""
        return any(each.poll(0) for each in self.loops)

    def is_past(self, at: float | None) -> bool:
        """Whether that time has come; None never does."""
        return at is not None and at <= self.now

    def next_due(self) -> float | None:
        """The earliest time that anybody waits for."""
        times: Iterable[float | None] = (
            *(until for until, _ in self.loops.values()),
            *(guest.until for guest in self.guests),
            self.alarms.next(),
        )
        return min((at for at in times if at is not None), default=None)

    def fire(self) -> None:
        """Begin with what is due now: the loops if there are any, else one sleeper.

        So what falls on one time happens one after the other, each with all that follows from it.
        """
        due = [wake for until, wake in self.loops.values() if self.is_past(until)]
        for wake in due:
            wake()
        if not due and (sleeper := self.alarms.take_due(self.now)) is not None:
            sleeper.stand_in_line()
        self.pass_on()


class Sleeper:
    """A thread that works in turns and waits in virtual time.

    Made by whoever starts the thread, which begins with `arrive` and ends with `leave`.
    """

    def __init__(self, turns: Turns, who: str) -> None:
        self._turns = turns
        self._who = who
        self._turn = threading.Condition(turns.lock)
        self._asleep = True
        self._in_line = False
        self._nudged = False

    def queue(self) -> None:
        """Have the thread get its first turn."""
        with self._turns.changed:
            self.stand_in_line()
            self._turns.pass_on()

    def arrive(self) -> None:
        """In the thread: wait for the first turn."""
        self._turns.here.who = self._who
        self._turns.here.sleeper = self
        with self._turns.changed:
            self._turn.wait_for(self._is_awake)

    def join_in(self) -> None:
        """In a thread that nobody has counted: it is, from now on until `leave`."""
        with self._turns.changed:
            self._asleep = False
            self._turns.take(self._who)

    def pause(self, until: float | None) -> None:
        """In the thread: wait until `wake`, at most ``until`` that time; spurious ends happen."""
        turns = self._turns
        with turns.changed:
            if not self._nudged and not turns.is_past(until):
                self._asleep = True
                if until is not None:
                    turns.alarms.arm(self, until)
                turns.give(self._who)
                self._turn.wait_for(self._is_awake)
                turns.alarms.disarm(self)
            self._nudged = False

    def wake(self) -> None:
        """From any thread: it is to look again at what it waits for."""
        with self._turns.changed:
            if self._asleep:
                self.stand_in_line()
                self._turns.pass_on()
            else:
                self._nudged = True

    def leave(self) -> None:
        """The thread is done."""
        with self._turns.changed:
            self._turns.give(self._who)

    def stand_in_line(self) -> None:
        """Once, however often it was woken; for those who hold `Turns.changed`."""
        if not self._in_line:
            self._in_line = True
            self._turns.line.append(self)

    def go(self) -> None:
        """Its turn has come; for those who hold `Turns.changed`."""
        self._asleep = self._in_line = False
        self._turns.take(self._who)
        self._turn.notify()

    def _is_awake(self) -> bool:
        return not self._asleep
