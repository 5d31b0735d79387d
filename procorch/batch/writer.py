"""The thread that writes the journal: many facts a transaction, none of them late.

A transaction costs the disk's time, not the items': whatever has come while the last one was
written goes into the next, and a fact waits at most `DELAY` for others. Only what is committed is
acknowledged.

A full disk is no reason to lose anything: the facts stay here, the runner is told (it takes no
further items once enough of them wait), and the same transaction is tried again until there is
room. Any other failure ends the run.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from procorch.batch.errors import JournalError
from procorch.batch.journal import Fact, Journal
from procorch.batch.reader import Standing

DELAY = 0.02
"""Seconds that a fact waits for others."""
GROUP = 1000
"""Facts in one transaction, at most."""
PATIENCE = 1.0
"""Seconds between two tries on a full disk."""


@dataclass(frozen=True, slots=True)
class Kept:
    """These are committed: what was handed in with the facts."""

    tokens: list[Any]


@dataclass(frozen=True, slots=True)
class Stuck:
    """The disk is full; None: there is room again."""

    why: str | None


@dataclass(frozen=True, slots=True)
class Broken:
    """Nothing more will be written."""

    error: JournalError


News: TypeAlias = Kept | Stuck | Broken


class Writer:
    """Writes a journal until it is closed.

    Args:
        tell: called on the thread of the writer with what has happened; must not block.
    """

    def __init__(self, journal: Journal, tell: Callable[[News], None]) -> None:
        self._journal = journal
        self._tell = tell
        self._inbox: queue.SimpleQueue[tuple[Fact, Any] | None] = queue.SimpleQueue()
        self._giving_up = threading.Event()
        # A daemon: where nobody closes it, the facts that it holds were not acknowledged either.
        self._thread = threading.Thread(target=self._run, name="procorch-journal", daemon=True)
        self._thread.start()

    def put(self, fact: Fact, token: Any = None) -> None:
        """Write this; ``token`` (unless None) comes back when it is committed."""
        self._inbox.put((fact, token))

    def close(self, *, at_once: bool = False, count: bool = False) -> Standing | None:
        """Write what waits, end the thread, close the journal.

        Args:
            at_once: do not wait for room on a full disk.
            count: say what the journal has come to; None where it cannot be read.
        """
        if at_once:
            self._giving_up.set()
        self._inbox.put(None)
        self._thread.join()
        try:
            return self._journal.standing() if count else None
        except JournalError:
            return None  # it is said where it is read next
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
                self._tell(Broken(error))
                return
            except sqlite3.Error as error:
                self._tell(Broken(JournalError(f"{self._journal.path}: {error}")))
                return
            if tokens:
                self._tell(Kept(tokens))

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
        """Whether they are written; False where nobody wants to wait for room any more."""
        stuck = False
        while True:
            try:
                self._journal.write(facts)
            except sqlite3.Error as error:
                if not _is_full(error):
                    raise
            else:
                if stuck:
                    self._tell(Stuck(None))
                return True
            if not stuck:
                stuck = True
                self._tell(Stuck(f"no room on the disk for {self._journal.path}"))
            if self._giving_up.wait(PATIENCE):
                return False


def _is_full(error: sqlite3.Error) -> bool:
    # What the log's index cannot get room for is reported as an error of its own.
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE
