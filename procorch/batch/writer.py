"""The thread that writes the journal: many facts a transaction, none of them late.

A transaction costs the disk's time, not the items': whatever has come while the last one was
written goes into the next, and a fact waits at most `DELAY` for others. Only what is committed is
acknowledged.

A disk that takes nothing (it is full, a quota or a limit on the size of files is reached, its
server is away) is no reason to lose anything: the facts stay here, the runner is told (it takes no
further items once enough of them wait), and the same transaction is tried again until there is
room. Any other failure ends the run.
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from procorch.batch.errors import JournalError
from procorch.batch.journal import Fact, Journal
from procorch.batch.reader import JournalCounts

DELAY = 0.02
"""Seconds that a fact waits for others."""
GROUP = 1000
"""Facts in one transaction, at most."""
_WRITING = {
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,  # the log's index
    sqlite3.SQLITE_IOERR_SHMMAP,
}
PATIENCE = 1.0
"""Seconds between two tries on a full disk."""


@dataclass(frozen=True, slots=True)
class Committed:
    """These are committed: what was handed in with the facts."""

    tokens: list[Any]


@dataclass(frozen=True, slots=True)
class WriterBlocked:
    """The disk is full; None: there is room again."""

    why: str | None


@dataclass(frozen=True, slots=True)
class WriterFailed:
    """Nothing more will be written."""

    error: JournalError


WriterEvent: TypeAlias = Committed | WriterBlocked | WriterFailed


class Writer:
    """Writes a journal until it is closed.

    Args:
        tell: called on the thread of the writer with what has happened; must not block.
    """

    def __init__(self, journal: Journal, tell: Callable[[WriterEvent], None]) -> None:
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

    def confirm(self) -> None:
        """See that what was committed can be found again; see `Journal.must_be_there`."""
        self._journal.must_be_there()

    def close(self, *, at_once: bool = False, count: bool = False) -> JournalCounts | None:
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
                self._tell(WriterFailed(error))
                return
            except sqlite3.Error as error:
                self._tell(WriterFailed(JournalError(f"{self._journal.path}: {error}")))
                return
            if tokens:
                self._tell(Committed(tokens))

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
                if not _may_pass(error):
                    raise
                if not stuck:
                    stuck = True
                    self._tell(WriterBlocked(_trouble(self._journal.path, error)))
            else:
                if stuck:
                    self._tell(WriterBlocked(None))
                return True
            if self._giving_up.wait(PATIENCE):
                return False
            self._journal.make_room()


def _may_pass(error: sqlite3.Error) -> bool:
    """Whether the disk may take it later.

    SQLite tells a full disk from other errors, but not a quota, a limit on the size of files, or a
    server that is away for a while: those are errors of writing.
    """
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code in _WRITING


def _trouble(path: Path, error: sqlite3.Error) -> str:
    """What is wrong with the disk, in the words of the system; SQLite says only "I/O error"."""
    if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
        return f"no room on the disk for {path}"
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        with beside.open("xb", buffering=0) as file:
            file.write(bytes(4096))
            os.fsync(file.fileno())
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        why = str(error)
        if most != resource.RLIM_INFINITY:
            why = f"files may have {most} bytes (ulimit -f)"
    except OSError as refusal:
        why = os.strerror(refusal.errno or 0)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    return f"{path} cannot be written at the moment: {why}"
