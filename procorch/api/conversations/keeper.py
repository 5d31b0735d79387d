"""The thread that keeps conversations: it begins their turns in order and stores the answers.

Everything about the store happens on this thread, in the order in which it was asked for: a turn
reads what is stored and is submitted; its answer is written, and the caller gets it when that is
committed; a change waits for its turn as requests do. What comes while a transaction is written
goes into the next one, so many conversations share a commit.

A race that is closed here: *something is asked for while the thread ends.* The caller puts it into
the inbox first and reads ``_over`` second. The thread sets ``_over`` first and empties the inbox
second.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from procorch.api.conversations.file import ConversationFile
from procorch.api.conversations.lanes import Change, Key, Lane, Lanes, Turn
from procorch.clock import Clock
from procorch.errors import (
    Aborted,
    AgentError,
    ConversationError,
    ConversationExists,
    ConversationStoreError,
    MessageTooLarge,
    ProtocolError,
)
from procorch.futures.outcome import ReplyOutcome
from procorch.wire.bulk import keep
from procorch.wire.headers import TurnHead
from procorch.wire.payload import STREAMED, THRESHOLD, Lease, spread

_log = logging.getLogger("procorch")
_CLOSED = "the orchestrator is closed"
_GROUP = 1000
"""Things that are done before a commit, at most."""

_T = TypeVar("_T")


class _Asked(NamedTuple):
    """``call`` is done on the thread, ``refuse`` in its place after the end."""

    call: Callable[[], None]
    refuse: Callable[[], None]


class _Write(NamedTuple):
    """``then`` gets what ``write`` returned or the error, when it is committed."""

    write: Callable[[], Any]
    then: Callable[[Any, ConversationError | None], None]


class Keeper:
    """Keeps the conversations of one orchestrator in a file.

    Args:
        clock: of the deadlines.

    Raises:
        ConversationStoreError: the file cannot be used.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = ConversationFile(path)
        self._clock = clock
        self._lanes = Lanes()
        self._inbox: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._writes: list[_Write] = []
        self._idle: list[threading.Event] = []
        self._over = False
        self._thread = threading.Thread(
            target=self._run, name="procorch-conversations", daemon=True
        )
        self._thread.start()

    # ---- from other threads

    def send(self, turn: Turn) -> None:
        """Begin a turn when those before it in its conversation have ended."""
        self._post(lambda: self._begin(self._lanes.add(turn)), lambda: turn.fail(Aborted(_CLOSED)))

    def drop(self, request: int, drop: Callable[[int], None]) -> None:
        """Cancel a turn. ``drop``: cancels one that was submitted."""

        def cancel() -> None:
            if not self._lanes.cancel(request):
                drop(request)

        self._post(cancel, lambda: drop(request))

    def read(self, look: Callable[[ConversationFile], _T]) -> Future[_T]:
        """Look at what is stored, without waiting for turns that are under way."""
        done: Future[_T] = Future()

        def answer() -> None:
            try:
                done.set_result(look(self._file))
            except ConversationError as error:
                done.set_exception(error)

        self._post(answer, lambda: done.set_exception(Aborted(_CLOSED)))
        return done

    def change(
        self,
        key: Key,
        write: Callable[[ConversationFile], _T],
        after: Callable[[ConversationFile], None] = lambda file: None,
    ) -> Future[_T]:
        """Change a conversation when what was asked of it before has ended.

        Args:
            write: writes it, and returns the result.
            after: called when it is committed.
        """
        change = Change(key, lambda: write(self._file), after=lambda: after(self._file))
        self._post(
            lambda: self._begin(self._lanes.add(change)),
            lambda: change.done.set_exception(Aborted(_CLOSED)),
        )
        return change.done

    def fork(self, key: Key, other: str) -> Future[None]:
        """Begin another conversation with all that was said in this one."""

        def write(file: ConversationFile) -> None:
            if Key(key.agent, other) in self._lanes:  # its first turn is under way
                raise ConversationExists(agent=key.agent, conversation=other)
            file.fork(*key, other)

        return self.change(key, write)

    def await_begun(self, timeout: float) -> None:
        """Wait until no turn waits for another one, at most ``timeout`` seconds."""
        idle = threading.Event()
        self._post(lambda: self._idle.append(idle), idle.set)
        idle.wait(timeout)

    def abort(self) -> None:
        """End everything that waits for its turn."""
        self._post(self._abort, lambda: None)

    def close(self) -> None:
        """Store what has come, end the thread, and close the file. A second call has no effect."""
        self._post(self._end, lambda: None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _post(self, call: Callable[[], None], refuse: Callable[[], None]) -> None:
        self._inbox.put(_Asked(call, refuse))
        if self._over:
            self._refuse()

    # ---- on the thread

    def _run(self) -> None:
        try:
            while not self._over:
                self._take()
                while self._writes:
                    self._commit()
        except BaseException:
            # A defect of procorch: no caller may wait for ever because of it.
            _log.critical("the conversations of this program cannot be kept on", exc_info=True)
        finally:
            self._over = True
            self._abort()
            self._refuse()
            self._file.close()

    def _take(self) -> None:
        """Do what was asked for, and wait for the first of it."""
        try:
            asked = self._inbox.get(timeout=self._lanes.seconds_left(self._clock))
            for _ in range(_GROUP):
                asked.call()
                asked = self._inbox.get_nowait()
            asked.call()
        except queue.Empty:
            self._lanes.expire(self._clock)
        if self._idle and not self._lanes.waiting:
            for idle in self._idle:
                idle.set()
            self._idle.clear()

    def _commit(self) -> None:
        writes, self._writes = self._writes, []
        done: list[tuple[Any, ConversationError | None]] = []
        try:
            with self._file.transaction():
                done += [self._file.attempt(each.write) for each in writes]
        except ConversationStoreError as error:
            done = [(None, error)] * len(writes)
        for each, (result, failure) in zip(writes, done, strict=True):
            each.then(result, failure)

    def _begin(self, lane: Lane) -> None:
        """Begin what is next in a conversation."""
        step = self._lanes.next(lane)
        if isinstance(step, Turn):
            self._submit(step)
        elif step is not None:
            change = step

            def then(result: Any, error: ConversationError | None) -> None:
                if error is None:
                    change.after()
                    change.done.set_result(result)
                else:
                    change.done.set_exception(error)
                self._begin(self._lanes.end(change.key))

            self._writes.append(_Write(change.write, then))

    def _submit(self, turn: Turn) -> None:
        """Give a turn what is stored of its conversation, and submit it."""
        turn.reply.on_outcome = lambda outcome: self._post(
            lambda: self._ended(turn, outcome), lambda: self._lose(turn, outcome)
        )
        try:
            history = self._file.history(*turn.key)
        except ConversationStoreError as error:
            turn.fail(error)
            return
        parts = list(spread(turn.body))
        split = sum(map(len, parts))
        parts += [state for _, state in history.stored]
        size = sum(map(len, parts))
        if size > turn.limit:
            what = f"conversation {turn.key.name!r} (trim() shortens it)"
            turn.fail(MessageTooLarge(what=what, size=size, limit=turn.limit))
            return
        request = turn.request
        stored = [(form, len(state)) for form, state in history.stored]
        request.cargo.turn = TurnHead(turn.key.name, split, stored, history.kind)
        request.cargo.body = body = keep(parts) if size >= THRESHOLD else parts
        request.cargo.size = size
        request.alone = size >= STREAMED or isinstance(body, Lease)
        turn.port.submit(request)

    def _ended(self, turn: Turn, outcome: ReplyOutcome | None) -> None:
        """A turn has ended; ``outcome``: it has an answer that is to be stored."""
        if outcome is None:
            self._resume(turn.key)
            return
        kept = turn.reply.turn
        if kept is None:
            error = ProtocolError(what="an answer without what is to be stored of it")
            self._fail(turn, outcome, error)
            self._resume(turn.key)
            return

        def then(result: Any, error: ConversationError | None) -> None:
            if error is None:
                turn.reply.finish(outcome)
            else:
                failure = copy.copy(error)  # turns that were to be committed together share it
                failure.agent, failure.conversation = turn.key
                self._fail(turn, outcome, failure)
            self._resume(turn.key)

        self._writes.append(_Write(lambda: self._file.add(*turn.key, kept), then))

    @staticmethod
    def _fail(turn: Turn, outcome: ReplyOutcome, error: AgentError) -> None:
        """A turn that has an answer fails: it was not stored."""
        error.may_have_executed = True
        turn.reply.finish(ReplyOutcome(outcome.figures, error, used=outcome.used))

    def _lose(self, turn: Turn, outcome: ReplyOutcome | None) -> None:
        if outcome is not None:
            self._fail(turn, outcome, Aborted(_CLOSED, agent=turn.key.agent))

    def _resume(self, key: Key) -> None:
        """Go on in a conversation."""
        self._begin(self._lanes.end(key))

    def _end(self) -> None:
        self._over = True

    def _abort(self) -> None:
        for step in self._lanes.take_all():
            if isinstance(step, Turn):
                step.fail(Aborted(_CLOSED))
            else:
                step.done.set_exception(Aborted(_CLOSED))

    def _refuse(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._inbox.get_nowait().refuse()
