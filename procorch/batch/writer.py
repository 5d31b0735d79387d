"""The thread that writes the journal, many facts in one transaction.

All facts that arrive while a transaction is written go into the next one, and a fact waits at most
`DELAY` for others. So items do not wait for the disk. Only committed facts are acknowledged.

If the disk accepts nothing (it is full, a quota or a limit on the size of files is reached, a file
server does not answer), nothing is lost: the facts stay here, the runner is told, and the same
transaction is tried again until there is room. The runner takes no further items once enough facts
wait. Any other failure ends the batch.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import Struct

from procorch.api.storage.disk import may_pass, trouble
from procorch.batch.errors import JournalError
from procorch.batch.journal import Fact, Journal
from procorch.batch.reader import JournalCounts

DELAY = 0.02
"""Seconds that a fact waits for others."""
GROUP = 1000
"""Facts in one transaction at most."""
PATIENCE = 1.0
"""Seconds between two tries on a full disk."""


class Committed(Struct, frozen=True):
    """Facts are committed; ``tokens`` are those that `Writer.put` got with them."""

    tokens: list[Any]


class WriterBlocked(Struct, frozen=True):
    """The disk accepts nothing, for this reason; None: it accepts data again."""

    why: str | None


class WriterFailed(Struct, frozen=True):
    """The writer has ended because of an error."""

    error: JournalError


WriterEvent: TypeAlias = Committed | WriterBlocked | WriterFailed


class Writer:
    """Writes a journal until it is closed.

    Args:
        put_event: called on the thread of the writer; must not block.
    """

    def __init__(self, journal: Journal, put_event: Callable[[WriterEvent], None]) -> None:
        self._journal = journal
        self._put_event = put_event
        self._inbox: queue.SimpleQueue[tuple[Fact, Any] | None] = queue.SimpleQueue()
        self._giving_up = threading.Event()
        # A daemon thread: facts that it still holds at the end were not acknowledged.
        self._thread = threading.Thread(target=self._run, name="procorch-journal", daemon=True)
        self._thread.start()

    def put(self, fact: Fact, token: Any = None) -> None:
        """Write a fact; a `Committed` event returns ``token``, unless it is None."""
        self._inbox.put((fact, token))

    def confirm(self) -> None:
        """Make sure that what was committed can be found again; see `Journal.must_be_there`."""
        self._journal.must_be_there()

    def close(self, *, at_once: bool = False, count: bool = False) -> JournalCounts | None:
        """Write the facts that wait, end the thread, and close the journal.

        Args:
            at_once: do not wait for room on a full disk.
            count: return the counts of the journal.

        Returns:
            None if no counts were asked for, or if the journal cannot be read.
        """
        if at_once:
            self._giving_up.set()
        self._inbox.put(None)
        self._thread.join()
        try:
            return self._journal.standing() if count else None
        except JournalError:
            return None  # the next reader reports it
        finally:
            self._journal.close()

    def _run(self) -> None:
        over = False
        while not over:
            facts, tokens, over = self._gather()
            if not facts:
                continue
            try:
                if not self._commit(facts):
                    return
            except JournalError as error:
                self._put_event(WriterFailed(error))
                return
            except sqlite3.Error as error:
                self._put_event(WriterFailed(JournalError(f"{self._journal.path}: {error}")))
                return
            if tokens:
                self._put_event(Committed(tokens))

    def _gather(self) -> tuple[list[Fact], list[Any], bool]:
        facts: list[Fact] = []
        tokens: list[Any] = []
        first = self._inbox.get()
        until = time.monotonic() + DELAY
        entry: tuple[Fact, Any] | None = first
        while entry is not None:
            facts.append(entry[0])
            if entry[1] is not None:
                tokens.append(entry[1])
            if len(facts) >= GROUP:
                return facts, tokens, False
            try:
                entry = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return facts, tokens, False
        return facts, tokens, True

    def _commit(self, facts: list[Fact]) -> bool:
        """Write facts; False: `close` was called, and the disk is still full."""
        stuck = False
        while True:
            try:
                self._journal.write(facts)
            except sqlite3.Error as error:
                if not may_pass(error):
                    raise
                if not stuck:
                    stuck = True
                    self._put_event(WriterBlocked(trouble(self._journal.path, error)))
            else:
                if stuck:
                    self._put_event(WriterBlocked(None))
                return True
            if self._giving_up.wait(PATIENCE):
                return False
            self._journal.make_room()
