"""A folder as an input: an item is the path of a file below it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from procorch.batch.errors import BatchInputError
from procorch.batch.journal_files import Identity, OutputFiles, belongs, identity, is_journal
from procorch.batch.readers import OnRead

_Ancestors: TypeAlias = tuple[Identity, ...]

File: TypeAlias = tuple[str, str, int, int]
"""A path, the path within the folder, the size, and the time of the last change in ns."""


class FolderWalk:
    """One reading of a folder.

    Args:
        outputs: files that the batch itself writes; they are left out.

    Attributes:
        left_out: what was left out and might be expected to be an item, with the reason.
    """

    def __init__(self, folder: Path, outputs: OutputFiles) -> None:
        self.left_out: list[str] = []
        self._folder = folder
        self._outputs = outputs
        self._written = outputs.files()

    def files(self, saw: OnRead) -> Iterator[File]:
        """The files in the order of their names, those in folders below included.

        Hidden files and folders are left out. Links are followed.

        Raises:
            BatchInputError: a folder cannot be read, or a link leads nowhere.
        """
        return self._below(self._folder, "", (), saw)

    def _below(self, folder: Path, prefix: str, above: _Ancestors, saw: OnRead) -> Iterator[File]:
        try:
            own = identity(os.stat(folder))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise BatchInputError(f"{folder} cannot be read: {error.strerror}") from None
        if own in above:
            self.left_out.append(f"{folder} (a link to a folder that it is in)")
            return
        journals: list[str] = []  # of other batches
        for entry in entries:
            path, name = entry.path, prefix + entry.name
            if entry.name.startswith(".") or self._outputs.belongs(own, path, entry.name):
                continue
            known = self._look(entry)
            if known is None:
                continue
            if stat.S_ISDIR(known.st_mode):
                yield from self._below(Path(path), f"{name}/", (*above, own), saw)
            elif not stat.S_ISREG(known.st_mode):
                self.left_out.append(f"{path} (not a file)")
            elif identity(known) in self._written:
                self.left_out.append(f"{path} (this batch writes it)")
            elif is_journal(path, known.st_size):
                journals.append(entry.name)
                self.left_out.append(f"{path} (the journal of another batch)")
            elif not any(belongs(path, entry.name, journal) for journal in journals):
                saw(f"{path}\0{known.st_size}\0{known.st_mtime_ns}\0".encode(errors="replace"))
                yield path, name, known.st_size, known.st_mtime_ns

    def _look(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """The status of an entry, of its target if it is a link; None: it was just removed."""
        try:
            return entry.stat()
        except OSError as error:
            if entry.is_symlink():
                raise BatchInputError(
                    f"{entry.path} is a link to {_target(entry.path)}, which cannot be read: "
                    f"{error.strerror}; mend it or remove it"
                ) from None
            if isinstance(error, FileNotFoundError):
                return None
            raise BatchInputError(f"{entry.path} cannot be read: {error.strerror}") from None


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return "nothing"
