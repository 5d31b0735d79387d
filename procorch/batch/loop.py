"""The loop of a batch: items in, attempts out to the workers, outcomes to the journal, then to you.

One thread runs it, that of whoever iterates. It waits on one queue, into which others only put:
replies that are there (the monitor's thread), what is committed (the journal's), new items of a
source that may take its time, and the wish to stop (a signal handler). So nothing here needs a
lock, and the loop holds no more than `_UNCOMMITTED` items, however many there are.

An item goes: read, looked up in the journal, sent, and, after an attempt that failed, sent again or
not; then its outcome is written, and only when that is committed it is handed out. A runner that is
killed in between forgets items under way, which are tried again, and nothing else.
"""

from __future__ import annotations

import functools
import heapq
import queue
import random
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from procorch.api.handle import ReplyFuture
from procorch.batch import outcomes
from procorch.batch.admission import Intake
from procorch.batch.class_loading import Unreadable
from procorch.batch.errors import BatchError, BatchHalted, JournalError
from procorch.batch.input_check import Recheck
from procorch.batch.items import BatchItem, Row, reason_of
from procorch.batch.options import Flight, Terms
from procorch.batch.reader_thread import Arrived
from procorch.batch.report import Ended, Tally
from procorch.batch.store import Memory
from procorch.batch.workers import Crew
from procorch.batch.writer import Broken, Kept, News, Stuck
from procorch.errors import AgentCrashed, AgentError, AgentStopped, PoisonRequest, RequestCancelled
from procorch.supervision.restarts import Retry, retry
from procorch.supervision.throttle import Throttle, is_throttled

_UNCOMMITTED = 2000
"""Items whose outcome is being written, or that wait for their turn; with more, none is begun."""
_UNCOMMITTED_BYTES = 64 << 20
_KNOWN = 256
"""Items of earlier runs that are handed out in one go."""
_MOMENT = 0.1
"""Seconds after which what still waits for a worker is taken back, once the batch is to end.

Quick items are done by then, and of slow ones nothing is just being handed over."""
_LONGEST_LOOK = 3600.0
"""Seconds for which the inbox is waited for at once: a service may ask for more than it takes."""
_LONGEST = 30.0
"""Seconds between two attempts, unless a service asks for more."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody wants the batch to end; ``now``: without waiting for what is under way."""

    now: bool


Message: TypeAlias = Flight | Stop | Arrived | News
Inbox: TypeAlias = "queue.SimpleQueue[Message]"


class Loop:
    """One batch under way.

    Attributes:
        ready: outcomes to be handed out.
        over: nothing more will come.
        ended: how it ended; ``failure`` is what has ended it before its time.
        trouble: what holds it up, such as a full disk; None: nothing.
        flights: what is under way, by the number of the request.
    """

    def __init__(
        self, intake: Intake, crew: Crew, memory: Memory, inbox: Inbox, terms: Terms,
        recheck: Recheck | None,
    ) -> None:  # fmt: skip
        self.ready: deque[BatchItem] = deque()
        self.over: bool = False
        self.ended: Ended = "running"
        self.failure: Exception | None = None
        self.trouble: str | None = None
        self.flights: dict[int, Flight] = {}
        self.tally: Tally = Tally()
        self._intake = intake
        self._crew = crew
        self._memory = memory
        self._inbox = inbox
        self._terms = terms
        self._recheck = recheck
        self._stopping = False
        self._hurry = False
        self._is_written = True
        self._take_back_at: float | None = None
        self._again: deque[Flight] = deque()
        self._later: list[tuple[float, int, Flight]] = []
        self._ends = [0, 0]
        self._unwritten = 0
        self._unwritten_bytes = 0
        self._in_turn: dict[int, BatchItem | None] = {}
        self._turn = 0

    def advance(self, timeout: float | None) -> None:
        """Go on until something has happened, or for ``timeout`` seconds."""
        self._fill()
        if self._take_back_at is not None and self._take_back_at <= time.monotonic():
            self._take_back()
        if self._is_done():
            self._finish()
            return
        for message in self._arrivals(0.0 if self.ready else timeout):
            match message:
                case Flight():
                    self._landed(message)
                case Kept(tokens):
                    for row, item, turn in tokens:
                        self._kept(row, item, turn)
                case Stop(now):
                    self._stop("interrupted", None, now=now)
                case Stuck(why):
                    self.trouble = why
                case Broken(error):
                    self._unwritten, self._is_written = 0, False
                    self._stop("broken", error, now=True)
                case Arrived():
                    pass  # `_fill` takes it
        self._fill()

    def abandon(self) -> None:
        """End it where it stands."""
        if not self.over:
            self._stopping = True
            if self.ended == "running":
                self.ended = "interrupted"
            self._say_the_end()

    def _arrivals(self, timeout: float | None) -> Iterator[Message]:
        due = self._later[0][0] if self._later else self._take_back_at
        if due is not None:
            left = min(max(0.0, due - time.monotonic()), _LONGEST_LOOK)
            timeout = left if timeout is None else min(timeout, left)
        try:
            yield self._inbox.get(timeout=timeout)
            while True:
                yield self._inbox.get_nowait()
        except queue.Empty:
            return

    def _is_done(self) -> bool:
        waits_for_disk = self._unwritten and not (self._hurry and self.trouble)
        if self.flights or waits_for_disk or self.ready:
            return False
        return self._stopping or not (self._again or self._later or not self._intake.exhausted)

    def _finish(self) -> None:
        for turn in sorted(self._in_turn):  # left where an interruption has made gaps
            if (item := self._in_turn.pop(turn)) is not None:
                self.ready.append(item)
        if self.ended == "running":
            self.ended = "finished"
            try:
                self._memory.confirm()
                if self._recheck is not None:
                    self._recheck.confirm(self._memory.find)
            except Exception as error:  # the user's ``id`` may raise anything
                self.ended, self.failure = "broken", error
        if self._intake.exhausted and self.ended != "broken":
            self._memory.settle(self.tally.ok + self.tally.failed)
        self._say_the_end()

    def _say_the_end(self) -> None:
        self._memory.put((self.ended, str(self.failure or "")))
        self.over = True

    # ---- items in

    def _fill(self) -> None:
        try:
            while not self._stopping and len(self.flights) < self._crew.window:
                flight = self._next()
                if flight is None:
                    return
                self._send(flight)
        except Exception as error:  # the user's iterable and ``id`` may raise anything
            self._stop("broken", error, now=False)

    def _next(self) -> Flight | None:
        """What is to be sent next; None: nothing now."""
        # Room or not: what waits for its turn may be waiting for this very item.
        if self._again:
            return self._again.popleft()
        if self._later and self._later[0][0] <= time.monotonic():
            return heapq.heappop(self._later)[2]
        while self._has_room() and not self._intake.exhausted:
            found = self._intake.next()
            if found is None or isinstance(found, Flight):
                return found
            self._known(*found)
        return None

    def _has_room(self) -> bool:
        return (
            self._unwritten + len(self._in_turn) < _UNCOMMITTED
            and self._unwritten_bytes < _UNCOMMITTED_BYTES
            and len(self.ready) < _KNOWN
        )

    def _known(self, row: Row, turn: int) -> None:
        """It has its outcome from an earlier run."""
        item = None
        if not self._terms.skip_known:
            try:
                item = outcomes.item_of(row)
            except Unreadable as error:
                raise JournalError(
                    f"item {row.id!r}: {error}; skip_known=True goes on without handing it out"
                ) from None
        self.tally.add(row, fresh=False)
        self._hand_out(item, turn)

    def _send(self, flight: Flight) -> None:
        flight.number += 1
        flight.tries += 1
        self.tally.retried += flight.tries + flight.throttled > 1
        try:
            reply = self._crew.send(flight.item.value, self._terms.timeout)
        except AgentError as error:
            self._failed(flight, error, None)
            return
        flight.reply = reply
        self.flights[reply.request] = flight
        reply.notify(functools.partial(self._inbox.put, flight))

    # ---- outcomes out

    def _landed(self, flight: Flight) -> None:
        reply, flight.reply = flight.reply, None
        assert reply is not None
        del self.flights[reply.request]
        try:
            output = reply.result().output
            kept = outcomes.packed(output)
        except AgentError as error:
            self._failed(flight, error, reply)
        else:
            self._write(outcomes.success(flight, kept, reply), flight, output, None)

    def _failed(self, flight: Flight, error: AgentError, reply: ReplyFuture | None) -> None:
        if self._stopping and isinstance(error, RequestCancelled | AgentStopped):
            return  # not begun, or ended for our sake: it has no outcome
        if isinstance(error, AgentStopped):
            gone = BatchError(f"there are no workers any more: {error}")
            gone.__cause__ = error
            self._stop("broken", gone, now=True)
            return
        attempt = outcomes.attempt(flight, error, reply)
        self._memory.put(attempt)
        if isinstance(error, AgentCrashed):
            flight.deaths.append(error)
        if self._is_throttled(flight, error):
            # It waits for the pause of all workers, in their queue. That is not its fault.
            flight.throttled += 1
            flight.tries -= 1
            if not self._stopping:
                self._again.append(flight)
            return
        if self._may_do_better(error):
            match retry(
                attempts=flight.tries,
                deaths=len(flight.deaths),
                retries=self._terms.retries,
                allowed_failures=self._terms.allowed_failures,
            ):
                case Retry.AGAIN:
                    self._try_again(flight, error)
                    return
                case Retry.POISON:
                    error = PoisonRequest(agent=error.agent, deaths=tuple(flight.deaths))
        self._write(outcomes.failure(flight, error, attempt), flight, None, error)

    def _is_throttled(self, flight: Flight, error: AgentError) -> bool:
        throttle = self._terms.throttle
        return throttle is not None and is_throttled(error) and flight.throttled < throttle.retries

    def _may_do_better(self, error: AgentError) -> bool:
        return error.is_retryable or reason_of(error) in self._terms.retry_on

    def _try_again(self, flight: Flight, error: AgentError) -> None:
        if self._stopping:
            return
        if isinstance(error, AgentCrashed):
            self._again.append(flight)
            return
        delay = error.retry_after
        if delay is None:
            delay = min(_LONGEST, 0.25 * 2**flight.tries) * random.uniform(0.5, 1.0)
        delay = min(delay, (self._terms.throttle or Throttle()).longest)
        heapq.heappush(self._later, (time.monotonic() + delay, flight.turn, flight))

    def _write(self, row: Row, flight: Flight, output: Any, error: AgentError | None) -> None:
        if not self._is_written:  # the writer has ended, and would never acknowledge it
            return
        item = BatchItem(
            row.id, row.ok, output, error, row.reason, row.place, row.attempts, row.position,
            cost=outcomes.cost_of(row), log=row.log,
        )  # fmt: skip
        self._unwritten += 1
        self._unwritten_bytes += len(row.output or "")
        self._memory.put(row, (row, item, flight.turn))
        self._halt_if_met(row.ok)

    def _kept(self, row: Row, item: BatchItem, turn: int) -> None:
        """It is committed: now it counts."""
        self._unwritten -= 1
        self._unwritten_bytes -= len(row.output or "")
        self._intake.settled(row.id)
        self.tally.add(row, fresh=True)
        self._hand_out(item, turn)

    def _halt_if_met(self, ok: bool) -> None:
        """Decided by what has come to an end, written or not: the sooner the better."""
        self._ends[ok] += 1
        failed, succeeded = self._ends
        halt = self._terms.halt
        if halt is not None and halt.reached(succeeded, failed):
            why = f"halted by {halt}: {failed} failed and {succeeded} succeeded in this run"
            self._stop("halted", BatchHalted(why), now=halt.now)

    def _hand_out(self, item: BatchItem | None, turn: int) -> None:
        if not self._terms.keep_order:
            if item is not None:
                self.ready.append(item)
            return
        self._in_turn[turn] = item
        while self._turn in self._in_turn:
            item = self._in_turn.pop(self._turn)
            self._turn += 1
            if item is not None:
                self.ready.append(item)

    # ---- the end

    def _stop(self, ended: Ended, failure: Exception | None, *, now: bool) -> None:
        """Begin nothing more; the first reason counts, a second one only hurries."""
        if self._stopping and (self._hurry or not now):
            return
        if not self._stopping:
            self._stopping = True
            self.ended, self.failure = ended, failure
            self._again.clear()
            self._later.clear()
        self._hurry = now
        self._take_back_at = time.monotonic() + (0.0 if now else _MOMENT)

    def _take_back(self) -> None:
        """Cancel what waits for a worker; with ``_hurry`` also what a worker has."""
        self._take_back_at = None
        running = set() if self._hurry else {each.request for each in self._crew.look()}
        for number, flight in list(self.flights.items()):
            if number not in running and flight.reply is not None:
                flight.reply.cancel()
