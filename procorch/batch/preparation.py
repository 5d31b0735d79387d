"""A batch that was checked and can be started."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from procorch.agents.scored import scored
from procorch.api.orchestrator import AgentOrchestrator
from procorch.api.storage.lock import holder
from procorch.batch import identity
from procorch.batch.admission import Admission
from procorch.batch.commands import OnCommand, command_check, find_program_of, make_results_folder
from procorch.batch.dry_run import Plan, plan
from procorch.batch.errors import JournalBusy, JournalDamaged, JournalError
from procorch.batch.input_check import InputCheck, InputScan
from procorch.batch.journal import Journal
from procorch.batch.loop import BatchLoop, Inbox
from procorch.batch.options import BatchOptions
from procorch.batch.reader import Reader
from procorch.batch.reader_thread import ReaderThread
from procorch.batch.resume import check
from procorch.batch.runner import BatchRun
from procorch.batch.selection import Selection
from procorch.batch.sources import Source
from procorch.batch.store import JournalStore, NullStore, Store, remove
from procorch.batch.workers import Workers, check_settings
from procorch.supervision.keywords import CommonSettings

if TYPE_CHECKING:
    from procorch.launch.ray.backend import RayBackend


class PreparedBatch(msgspec.Struct, frozen=True):
    """A batch whose arguments and input were checked; nothing is started or written.

    Args:
        scan: what the input holds; None: it can be read only once.
        header: description of the batch for the journal, without the factory.
        path: the journal; None: there is none.
        workers: number of workers.
        resume: go on with the outcomes that the journal has.
        redo: remove the outcomes that the journal has.
    """

    factory: Callable[[], Any]
    source: Source
    selection: Selection
    scan: InputScan | None
    options: BatchOptions
    header: dict[str, Any]
    path: Path | None
    workers: int
    settings: CommonSettings
    start_method: str | None
    preload: Sequence[str]
    seed: int
    resume: bool
    redo: bool
    backend: str | RayBackend | None = None

    @property
    def _name(self) -> str:
        return identity.name_of(self.factory).rpartition(":")[2]

    def start(self, orchestrator: AgentOrchestrator | None = None) -> BatchRun:
        """Start the workers and take over the journal; see `run_batch`.

        Args:
            orchestrator: starts the workers, and is closed with the batch; it must have the start
                method and the seed of the batch. None: make one.
        """
        began = time.monotonic()
        make_results_folder(self.factory)
        inbox: Inbox = queue.SimpleQueue()
        store: Store
        options = self.options
        if self.path is None:
            workers = self._start_workers(orchestrator)
            store = NullStore(inbox.put)
        else:
            new = not self.path.exists()
            journal = Journal(self.path, mend=options.retry_failed)
            try:
                kind, unchanged = self._check(journal)
                options = msgspec.structs.replace(options, input_unchanged=unchanged)
                workers = self._start_workers(orchestrator)
                try:
                    epoch = journal.begin(self._header(), kind, afresh=self.redo)
                    store = JournalStore(journal, epoch, inbox.put)
                except BaseException:
                    workers.close()
                    raise
            except BaseException:
                journal.close()
                if new:
                    remove(self.path)
                raise
        input_check = None
        if self.scan is None:
            items = self.selection.of(self.source)
        else:
            input_check = InputCheck(
                self.source, self.selection, self.scan, tolerant=options.accept_changes
            )
            items = input_check.items()
        source = ReaderThread(items, inbox.put) if self.source.slow else items
        admission = Admission(source, store, options, ahead=self.source.repeatable)
        loop = BatchLoop(admission, workers, store, inbox, options, input_check)
        total = None if self.scan is None else self.scan.total
        return BatchRun(loop, workers, store, inbox, admission, total, began)

    def _start_workers(self, orchestrator: AgentOrchestrator | None) -> Workers:
        factory, score = self.factory, self.options.score
        if score is not None:
            factory = partial(scored, factory, score)
        return Workers(
            factory, self.workers, self._name, self.settings, self.start_method, self.seed,
            orchestrator, self.preload, self.backend, ahead=self.options.budget is None,
        )  # fmt: skip

    def _check_settings(self) -> None:
        check_settings(
            self.factory, self._name, self.settings, self.start_method, self.preload, self.backend
        )

    def _check(self, journal: Reader) -> tuple[str, bool]:
        return check(
            journal, self._header(), lambda: self.selection.of(self.source), resume=self.resume,
            redo=self.redo, accept_changes=self.options.accept_changes,
        )  # fmt: skip

    def _header(self) -> dict[str, Any]:
        return {
            "factory": identity.name_of(self.factory),
            "recipe": identity.describe(self.factory),
            "folder": identity.folder_of(self.factory),
        } | self.header

    def check_early(self) -> None:
        """Refuse what can be refused before the factory is known.

        Raises:
            BatchError, ValueError, TypeError: see `run_batch`.
        """
        self._check_settings()
        if self.path is None or self.resume or self.redo or not _has_content(self.path):
            return
        # A damaged journal is reported when it is opened for writing, with what repairs it.
        with contextlib.suppress(JournalDamaged), Reader(self.path, exact=True) as journal:
            self._check(journal)

    def dry_run(self, *, makes_folder: bool = False, on_command: OnCommand | None = None) -> Plan:
        """Say what the batch would do, and refuse what it would refuse; nothing is written.

        Args:
            makes_folder: the journal's folder would be made if it is missing.
            on_command: called with the name and the command line of each item that would be run, if
                the agent is a program.

        Raises:
            BatchError, ValueError, TypeError: see `run_batch`.
        """
        self._check_settings()
        find_program_of(self.factory)
        with contextlib.ExitStack() as stack:
            journal = None
            if self.path is not None:
                if self.path.parent.is_dir() or not makes_folder:
                    _check_writable(self.path)
                if _has_content(self.path):
                    journal = stack.enter_context(Reader(self.path))
                    self._check(journal)
            return plan(
                self.selection.of(self.source), journal, retry_failed=self.options.retry_failed,
                redo=self.redo, accept_changes=self.options.accept_changes,
                on_left=command_check(self.factory, on_command),
            )  # fmt: skip


def _has_content(path: Path) -> bool:
    """Whether there is a journal; an empty file counts as none."""
    return path.is_file() and path.stat().st_size > 0


def _check_writable(path: Path) -> None:
    """Refuse a path where no journal can be written, and a journal that is being written."""
    folder = path.parent
    if path.is_dir():
        raise JournalError(f"{path} cannot be written: it is a folder")
    if not folder.is_dir():
        raise JournalError(f"{path} cannot be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise JournalError(f"{path} cannot be written: Permission denied")
    if (who := holder(path)) is not None:
        raise JournalBusy(f"{path} is being written by {who}")
