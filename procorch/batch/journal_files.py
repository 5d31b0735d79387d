"""The files that a batch writes: the journal and the files beside it, which are no input."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from procorch.batch.errors import BatchInputError

Identity: TypeAlias = tuple[int, int]
"""Device and inode, which identify a file under any name."""

_BESIDE = ("", "-wal", "-shm", "-journal", ".lock")
_LINE_OF_OURS = b'{"procorch":1,'
_PAGE = 512
"""The size of a database is a multiple of this."""
_APPLICATION = (68, b"proc")
"""The offset of the application id in the header of a database, and the id of procorch."""


def identity(known: os.stat_result) -> Identity:
    """Which file this is."""
    return known.st_dev, known.st_ino


def failed_file(journal: Path, number: int = 1) -> Path:
    """Where the failed items of a batch are put: ``run.failed.jsonl`` beside ``run.db``.

    Args:
        number: part of the name, if earlier numbers are taken.
    """
    return journal.with_name(f"{_stem(journal.name)}.failed{_number(number)}.jsonl")


def _stem(journal: str) -> str:
    # Only a final .db is replaced: run.2026-11-27 and run.2026-11-28 are two batches.
    return journal.removesuffix(".db") or journal


def _number(number: int) -> str:
    return "" if number == 1 else f".{number}"


def failed_name(journal: str) -> re.Pattern[str]:
    """All names that `failed_file` makes."""
    return re.compile(re.escape(_stem(journal)) + r"\.failed(\.\d+)?\.jsonl")


def belongs(path: str, name: str, journal: str) -> bool:
    """Whether a file is a journal of this name in the same folder, or one that belongs to it.

    A file with the name of failed items may be older than the journal, so its content is checked.
    """
    if name in {journal + suffix for suffix in _BESIDE}:
        return True
    if not failed_name(journal).fullmatch(name):
        return False
    return _begins(path, len(_LINE_OF_OURS)) == _LINE_OF_OURS


def is_journal(path: str, size: int) -> bool:
    """Whether this file is a journal of procorch."""
    if not size or size % _PAGE:  # nearly all other files, which need not be opened
        return False
    begins, ours = _APPLICATION
    head = _begins(path, begins + len(ours))
    return head.startswith(b"SQLite format 3\0") and head.endswith(ours)


def _begins(path: str, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:
        return b""


class OutputFiles:
    """The files that a batch writes.

    Args:
        journal: its path; None: there is none.
        streams: descriptors of standard output and standard error.
    """

    def __init__(self, journal: Path | None, streams: Iterable[int] = (1, 2)) -> None:
        self._journal = journal
        self._streams = set(_files_of(streams))
        self._folder: Identity | None = None
        if journal is not None:
            with contextlib.suppress(OSError):  # opening the journal will raise it
                self._folder = identity(os.stat(journal.parent))

    def belongs(self, folder: Identity, path: str, name: str) -> bool:
        """Whether this file has the name of the journal, or of a file that belongs to it."""
        if self._journal is None or folder != self._folder:
            return False
        return belongs(path, name, self._journal.name)

    def files(self) -> dict[Identity, str]:
        """The files that exist already, by identity, to find them under other names."""
        found = dict.fromkeys(self._streams, "standard output")
        if self._journal is not None and self._journal.name:
            names = [self._journal.name + suffix for suffix in _BESIDE]
            for path in map(self._journal.with_name, names):
                with contextlib.suppress(OSError):
                    found[identity(os.stat(path))] = str(path)
        return found

    def refuse(self, name: str, read: os.stat_result | None) -> None:
        """Refuse an input that the batch writes.

        Args:
            name: of the input.
            read: status of the file that is read; None: it is not a single file.

        Raises:
            BatchInputError: the input is the journal, a file beside it, or standard output.
        """
        if read is None or not stat.S_ISREG(read.st_mode):
            return
        written = self.files().get(identity(read))
        if written is not None:
            raise BatchInputError(
                f"{name} is the input, and this batch writes {written}, which is the same file; "
                "name another journal, out= (-o)"
            )
        failed = self._failed().get(identity(read))
        if failed is not None:
            raise BatchInputError(
                f"{name} is the input, and {failed} is the same file, where the failed items of "
                f"{self._journal} are put; name another journal, out= (-o), or go on with the "
                "input of that batch, retry_failed=True (--retry-failed)"
            )

    def _failed(self) -> dict[Identity, Path]:
        """The files that have a name for failed items."""
        found: dict[Identity, Path] = {}
        if self._journal is None:
            return found
        pattern = failed_name(self._journal.name)
        with contextlib.suppress(OSError):  # opening the journal will raise it
            for path in self._journal.parent.iterdir():
                if pattern.fullmatch(path.name):
                    with contextlib.suppress(OSError):
                        found[identity(path.stat())] = path
        return found


def _files_of(streams: Iterable[int]) -> Iterable[Identity]:
    for fd in streams:
        with contextlib.suppress(OSError):  # it is closed
            known = os.fstat(fd)
            # One that can only be read is another file, opened after the stream was closed.
            writes = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
            if stat.S_ISREG(known.st_mode) and writes:
                yield identity(known)
