"""A batch of which everything is known, and nothing begun."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from procorch.api.orchestrator import AgentOrchestrator
from procorch.batch import dry_run, identity
from procorch.batch import workers as crews
from procorch.batch.admission import Intake
from procorch.batch.errors import JournalBusy, JournalDamaged, JournalError
from procorch.batch.input_check import Recheck, Scan
from procorch.batch.journal import Journal
from procorch.batch.lock import holder
from procorch.batch.loop import Inbox, Loop
from procorch.batch.options import Terms
from procorch.batch.reader import Reader
from procorch.batch.reader_thread import Feed
from procorch.batch.resume import check
from procorch.batch.runner import BatchRun
from procorch.batch.selection import Selection
from procorch.batch.sources import Source
from procorch.batch.store import Durable, Forgetful, Memory, remove
from procorch.batch.workers import Crew
from procorch.supervision.keywords import Settings


@dataclass(frozen=True)
class Prepared:
    """A batch that can begin.

    Args:
        found: what the input is; None: it can be read only once.
        header: what the journal is to say of it, beside the factory; ``path`` is the journal.
        resume: go on with what is there; ``redo``: forget it.
    """

    factory: Callable[[], Any]
    source: Source
    selection: Selection
    found: Scan | None
    terms: Terms
    header: dict[str, Any]
    path: Path | None
    count: int
    settings: Settings
    start_method: str | None
    seed: int
    resume: bool
    redo: bool

    @property
    def _name(self) -> str:
        return identity.name_of(self.factory).rpartition(":")[2]

    def begin(self, orchestrator: AgentOrchestrator | None = None) -> BatchRun:
        """Begin it; see `run_batch`.

        Args:
            orchestrator: starts the workers; it has the start method and the seed of the batch,
                and ends with it. None: one is made.
        """
        inbox: Inbox = queue.SimpleQueue()
        memory: Memory
        terms = self.terms
        if self.path is None:
            crew = self._crew(orchestrator)
            memory = Forgetful(inbox.put)
        else:
            new = not self.path.exists()
            journal = Journal(self.path, mend=terms.retry_failed)
            try:
                kind, unmoved = self._check(journal)
                terms = dataclasses.replace(terms, unmoved=unmoved)
                crew = self._crew(orchestrator)
                try:
                    begun = journal.begin(self._header(), kind, afresh=self.redo)
                    memory = Durable(journal, begun, inbox.put)
                except BaseException:
                    crew.close()
                    raise
            except BaseException:
                journal.close()
                if new:
                    remove(self.path)
                raise
        recheck = None
        if self.found is None:
            left = self.selection.of(self.source)
        else:
            recheck = Recheck(
                self.source, self.selection, self.found, tolerant=terms.accept_changes
            )
            left = recheck.items()
        fed = Feed(left, inbox.put) if self.source.live else left
        intake = Intake(fed, memory, terms, ahead=self.source.repeatable)
        loop = Loop(intake, crew, memory, inbox, terms, recheck)
        total = None if self.found is None else self.found.total
        return BatchRun(loop, crew, memory, inbox, intake, total)

    def _crew(self, orchestrator: AgentOrchestrator | None) -> Crew:
        return Crew(
            self.factory, self.count, self._name, self.settings, self.start_method, self.seed,
            orchestrator,
        )  # fmt: skip

    def _check(self, journal: Reader) -> tuple[str, bool]:
        return check(
            journal, self._header(), lambda: self.selection.of(self.source), resume=self.resume,
            redo=self.redo, accept_changes=self.terms.accept_changes,
        )  # fmt: skip

    def _header(self) -> dict[str, Any]:
        return {
            "factory": identity.name_of(self.factory),
            "recipe": identity.describe(self.factory),
            "folder": identity.folder_of(self.factory),
        } | self.header

    def refuse_early(self) -> None:
        """Refuse what can be refused before the factory is known.

        Raises:
            BatchError, ValueError, TypeError: see `run_batch`.
        """
        crews.check(self.factory, self._name, self.settings, self.start_method)
        if self.path is None or self.resume or self.redo or not _has_content(self.path):
            return
        # A damaged journal is named when it is opened, with what mends it.
        with contextlib.suppress(JournalDamaged), Reader(self.path, exact=True) as journal:
            self._check(journal)

    def rehearse(self, *, folder_to_come: bool = False) -> dry_run.Plan:
        """Say what it would do, and refuse what it would refuse; nothing is written.

        Args:
            folder_to_come: the journal's folder would be made.

        Raises:
            BatchError, ValueError, TypeError: see `run_batch`.
        """
        crews.check(self.factory, self._name, self.settings, self.start_method)
        with contextlib.ExitStack() as stack:
            journal = None
            if self.path is not None:
                if self.path.parent.is_dir() or not folder_to_come:
                    _writable(self.path)
                if _has_content(self.path):
                    journal = stack.enter_context(Reader(self.path))
                    self._check(journal)
            return dry_run.plan(
                self.selection.of(self.source), journal, retry_failed=self.terms.retry_failed,
                redo=self.redo, accept_changes=self.terms.accept_changes,
            )  # fmt: skip


def _has_content(path: Path) -> bool:
    """Whether there is a journal: an empty file is taken for a new one."""
    return path.is_file() and path.stat().st_size > 0


def _writable(path: Path) -> None:
    """Refuse a place where no journal can be written, or one that somebody writes."""
    folder = path.parent
    if path.is_dir():
        raise JournalError(f"{path} cannot be written: it is a folder")
    if not folder.is_dir():
        raise JournalError(f"{path} cannot be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise JournalError(f"{path} cannot be written: Permission denied")
    if (who := holder(path)) is not None:
        raise JournalBusy(f"{path} is being written by {who}")
