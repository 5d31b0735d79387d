"""The loop of a batch: it reads items, sends them to workers, and writes and hands out outcomes.

It runs on one thread, the one that iterates over the batch. It waits on one queue, into which other
threads put messages: replies that have arrived (the monitor), committed outcomes (the writer of the
journal), items of a slow source (its reader), and requests to stop (a signal handler). So nothing
here needs a lock. The loop holds no more than `_UNCOMMITTED` items, however many there are.

An item is read, looked up in the store, and sent. After a failed attempt it is sent again or not.
Then its outcome is written, and it is handed out when the outcome is committed. If the runner is
killed in between, the items under way are tried again in the next run, and nothing else is lost.
"""

from __future__ import annotations

import functools
import queue
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeAlias

from msgspec import Struct

from procorch.agents.scored import Scored
from procorch.batch import outcomes
from procorch.batch.admission import Admission
from procorch.batch.class_loading import UnreadableValue
from procorch.batch.errors import BatchError, JournalError
from procorch.batch.halt_check import HaltCheck, Halted
from procorch.batch.input_check import InputCheck
from procorch.batch.items import BatchItem
from procorch.batch.options import ActiveItem, BatchOptions
from procorch.batch.output_order import OutputOrder
from procorch.batch.reader_thread import InputArrived
from procorch.batch.records import ItemRecord, usage_of
from procorch.batch.report import EndState, Tally
from procorch.batch.retry_queue import RetryQueue
from procorch.batch.store import Store
from procorch.batch.workers import Workers
from procorch.batch.writer import Committed, WriterBlocked, WriterEvent, WriterFailed
from procorch.errors import (
    AgentCrashed,
    AgentError,
    AgentStopped,
    PoisonRequest,
    RequestCancelled,
)
from procorch.futures.reply import ReplyFuture
from procorch.supervision.restarts import Retry

_UNCOMMITTED = 2000
"""Items whose outcome is being written, or that wait for their turn; with more, none is begun."""
_UNCOMMITTED_BYTES = 64 << 20
_MOST_READY = 256
"""Items of earlier runs that are ready to be handed out; with more, none is read."""
_CANCEL_DELAY = 0.1
"""Seconds from a request to stop until waiting requests are cancelled.

Quick items have finished by then, and no slow item is just being given to a worker."""
_LONGEST_WAIT = 3600.0
"""Seconds of one wait for a message: a service may ask for a longer pause than `queue` accepts."""


class StopRequest(Struct, frozen=True):
    """The batch is to end; ``now``: without waiting for items under way."""

    now: bool


Message: TypeAlias = ActiveItem | StopRequest | InputArrived | WriterEvent
Inbox: TypeAlias = "queue.SimpleQueue[Message]"


class BatchLoop:
    """A batch that is being run.

    Attributes:
        over: the batch has ended.
        ended: how it ended.
        failure: the error that ended it early.
        trouble: what holds it up, such as a full disk; None: nothing.
        active: items that were sent, by the number of the request.
        tally: the counts.
    """

    def __init__(
        self, admission: Admission, workers: Workers, store: Store, inbox: Inbox,
        options: BatchOptions, input_check: InputCheck | None,
    ) -> None:  # fmt: skip
        self.over: bool = False
        self.ended: EndState = "running"
        self.failure: Exception | None = None
        self.trouble: str | None = None
        self.active: dict[int, ActiveItem] = {}
        self.tally: Tally = Tally()
        self._admission = admission
        self._workers = workers
        self._store = store
        self._inbox = inbox
        self._options = options
        self._input_check = input_check
        self._retries = RetryQueue(options)
        self._output = OutputOrder(keep_order=options.keep_order)
        self._stopping = False
        self._stopping_now = False
        self._writer_lives = True
        self._cancel_at: float | None = None
        self._halt_check = HaltCheck(options)
        self._unwritten = 0
        self._unwritten_bytes = 0

    @property
    def ready(self) -> deque[BatchItem]:
        """Finished items that are to be handed out; the caller takes them from the left."""
        return self._output.ready

    def advance(self, timeout: float | None) -> None:
        """Go on until something has happened, or for ``timeout`` seconds."""
        self._fill()
        if self._cancel_at is not None and self._cancel_at <= time.monotonic():
            self._cancel_requests()
        if self._is_done():
            self._finish()
            return
        for message in self._messages(0.0 if self.ready else timeout):
            match message:
                case ActiveItem():
                    self._answered(message)
                case Committed(tokens):
                    for record, item, turn in tokens:
                        self._committed(record, item, turn)
                case StopRequest(now):
                    self._stop("interrupted", None, now=now)
                case WriterBlocked(why):
                    self.trouble = why
                case WriterFailed(error):
                    self._unwritten, self._writer_lives = 0, False
                    self._stop("broken", error, now=True)
                case InputArrived():
                    pass  # `_fill` takes the item
        self._fill()

    def abandon(self) -> None:
        """End the batch without waiting for anything."""
        if not self.over:
            self._stopping = True
            if self.ended == "running":
                self.ended = "interrupted"
            self._record_end()

    def _messages(self, timeout: float | None) -> Iterator[Message]:
        due = self._cancel_at if self._retries.next_due is None else self._retries.next_due
        if due is not None:
            left = min(max(0.0, due - time.monotonic()), _LONGEST_WAIT)
            timeout = left if timeout is None else min(timeout, left)
        try:
            yield self._inbox.get(timeout=timeout)
            while True:
                yield self._inbox.get_nowait()
        except queue.Empty:
            return

    def _is_done(self) -> bool:
        waits_for_disk = self._unwritten and not (self._stopping_now and self.trouble)
        if self.active or waits_for_disk or self.ready:
            return False
        return self._stopping or not (self._retries or not self._admission.exhausted)

    def _finish(self) -> None:
        self._output.release()
        if self.ended == "running":
            self.ended = "finished"
            try:
                self._store.confirm()
                if self._input_check is not None:
                    self._input_check.confirm(self._store.find)
            except Exception as error:  # the user's ``id`` function may raise anything
                self.ended, self.failure = "broken", error
        if self._admission.exhausted and self.ended != "broken":
            self._store.note_removed_items(self.tally.ok + self.tally.failed)
        self._record_end()

    def _record_end(self) -> None:
        self._store.put((self.ended, str(self.failure or "")))
        self.over = True

    # ---- items in

    def _fill(self) -> None:
        try:
            while not self._stopping and len(self.active) < self._workers.window:
                active = self._next()
                if active is None:
                    return
                self._send(active)
        except Exception as error:  # the user's iterable and ``id`` may raise anything
            self._stop("broken", error, now=False)

    def _next(self) -> ActiveItem | None:
        """The item that is to be sent next; None: there is none now."""
        # Retries need no room: items that are held in order may wait for this very item.
        again = self._retries.next()
        if again is not None:
            return again
        while self._has_room() and not self._admission.exhausted:
            found = self._admission.next()
            if found is None or isinstance(found, ActiveItem):
                return found
            self._known(*found)
        return None

    def _has_room(self) -> bool:
        return (
            self._unwritten + self._output.held < _UNCOMMITTED
            and self._unwritten_bytes < _UNCOMMITTED_BYTES
            and len(self.ready) < _MOST_READY
        )

    def _known(self, record: ItemRecord, turn: int) -> None:
        """Hand out an item that has its outcome from an earlier run."""
        item = None
        if not self._options.skip_known:
            try:
                item = outcomes.item_of(record)
            except UnreadableValue as error:
                raise JournalError(
                    f"item {record.id!r}: {error}; skip_known=True goes on without handing it out"
                ) from None
        self.tally.add(record, fresh=False)
        if record.used is not None:
            self._halt(self._halt_check.spent(*usage_of(record)))
        self._output.put(item, turn)

    def _send(self, active: ActiveItem) -> None:
        active.number += 1
        active.tries += 1
        self.tally.retried += active.tries + active.throttled > 1
        try:
            reply = self._workers.send(active.item, self._options.timeout)
        except AgentError as error:
            self._failed(active, error, None)
            return
        active.reply = reply
        self.active[reply.request] = active
        reply.notify(functools.partial(self._inbox.put, active))

    # ---- outcomes out

    def _answered(self, active: ActiveItem) -> None:
        reply, active.reply = active.reply, None
        assert reply is not None
        del self.active[reply.request]
        try:
            result = reply.result()
            active.spend(result.usage, result.cost)
            self._halt(self._halt_check.spent(result.usage, result.cost))
            output = result.output
            if isinstance(output, Scored):
                output, active.scores = output.output, output.scores
            packed = outcomes.packed(output)
        except AgentError as error:
            if error.usage is not None:
                active.spend(error.usage, error.cost)
                self._halt(self._halt_check.spent(error.usage, error.cost))
            self._failed(active, error, reply)
            return
        stop, cut = result.stop_reason, outcomes.cut_off(result)
        if cut is not None:
            attempt = outcomes.attempt(active, cut, reply)
            self._store.put(attempt)
            record = outcomes.failure(active, cut, attempt, packed, stop)
            self._write(record, active, None, cut)
        else:
            record = outcomes.success(active, packed, reply, stop)
            self._write(record, active, output, None)

    def _failed(self, active: ActiveItem, error: AgentError, reply: ReplyFuture | None) -> None:
        if self._stopping and isinstance(error, RequestCancelled | AgentStopped):
            return  # not begun, or cancelled because the batch ends: it has no outcome
        if isinstance(error, AgentStopped):
            no_workers = BatchError(f"there are no workers any more: {error}")
            no_workers.__cause__ = error
            self._stop("broken", no_workers, now=True)
            return
        attempt = outcomes.attempt(active, error, reply)
        self._store.put(attempt)
        if isinstance(error, AgentCrashed):
            active.deaths.append(error)
        if self._retries.is_throttled(active, error):
            # It waits in the queue of the workers until their pause is over.
            active.throttled += 1
            active.tries -= 1
            if not self._stopping:
                self._retries.put_now(active)
            return
        match self._retries.decide(active, error):
            case Retry.AGAIN:
                if not self._stopping:
                    self._retries.put(active, error)
                return
            case Retry.POISON:
                error = PoisonRequest(agent=error.agent, deaths=tuple(active.deaths))
        self._write(outcomes.failure(active, error, attempt), active, None, error)

    def _write(
        self, record: ItemRecord, active: ActiveItem, output: Any, error: AgentError | None
    ) -> None:
        if not self._writer_lives:  # it would never acknowledge the outcome
            return
        item = outcomes.finished_item(record, output, error)
        self._unwritten += 1
        self._unwritten_bytes += len(record.output or "")
        self._store.put(record, (record, item, active.turn))
        self._halt(self._halt_check.outcome(record.ok))  # before it is committed: as soon as may be

    def _committed(self, record: ItemRecord, item: BatchItem, turn: int) -> None:
        """Count and hand out an item whose outcome is committed."""
        self._unwritten -= 1
        self._unwritten_bytes -= len(record.output or "")
        self._admission.committed(record.id)
        self.tally.add(record, fresh=True)
        self._output.put(item, turn)

    def _halt(self, halted: Halted | None) -> None:
        if halted is not None:
            self._stop("halted", halted.error, now=halted.now)

    # ---- the end

    def _stop(self, ended: EndState, failure: Exception | None, *, now: bool) -> None:
        """Begin nothing more. The first reason is kept; a second call can only set ``now``."""
        if self._stopping and (self._stopping_now or not now):
            return
        if not self._stopping:
            self._stopping = True
            self.ended, self.failure = ended, failure
            self._retries.clear()
        self._stopping_now = now
        self._cancel_at = time.monotonic() + (0.0 if now else _CANCEL_DELAY)

    def _cancel_requests(self) -> None:
        """Cancel the requests that wait for a worker; if stopping now, those under way as well."""
        self._cancel_at = None
        states = [] if self._stopping_now else self._workers.states()
        running = {state.request for state in states}
        for number, active in list(self.active.items()):
            if number not in running and active.reply is not None:
                active.reply.cancel()
