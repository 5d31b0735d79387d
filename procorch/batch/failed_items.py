"""The file of failed items beside a journal, which can be an input again.

Its name may be taken, by a file of the user or of another batch with a journal of the same name.
Files that this batch did not write are neither overwritten nor removed: the next name is used,
``run.failed.2.jsonl``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from procorch.batch.errors import JournalDamaged
from procorch.batch.journal_files import failed_file, failed_name
from procorch.batch.reader import Reader
from procorch.batch.report import failed_lines


def write_failed(journal: Path) -> Path | None:
    """Write the failed items of a batch to a file.

    Returns:
        The file; None: no failed item has an input that is plain JSON.

    Raises:
        OSError: it cannot be written.
        JournalError: the journal cannot be read.
    """
    with Reader(journal) as reader:
        batch = _begun(reader)
        earlier = _written_by(reader, journal, batch)
        lines = failed_lines(reader.rows(failed_only=True), batch)
        first = next(lines, None)
        written = None if first is None else _put(journal, first, lines, earlier)
    for path in earlier:
        if path != written:
            path.unlink(missing_ok=True)
    return written


def _begun(reader: Reader) -> float:
    """When the batch was started; if a damaged journal has lost this, when it was resumed."""
    events = reader.events()
    begun = events[0][0] if events else reader.header().get("at", time.time())
    return float(begun)


def _put(journal: Path, first: str, rest: Iterator[str], earlier: list[Path]) -> Path:
    fd, name = tempfile.mkstemp(dir=journal.parent, prefix=f".{failed_file(journal).name}.")
    try:
        with open(fd, "w", encoding="utf-8") as file:
            file.write(first)
            file.writelines(rest)
        for number in itertools.count(1):
            path = failed_file(journal, number)
            if path in earlier:
                os.replace(name, path)
                return path
            # Made first: renaming at once would replace a file that was made just now.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                os.replace(name, path)
                return path
        raise AssertionError("numbers do not end")
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _written_by(reader: Reader, journal: Path, batch: float) -> list[Path]:
    """The files of failed items that this batch has written."""
    pattern = failed_name(journal.name)
    found = [path for path in journal.parent.iterdir() if pattern.fullmatch(path.name)]
    return sorted(path for path in found if _is_of(path, reader, batch))


class _Line(msgspec.Struct):
    procorch: int
    id: str
    batch: float | None = None


def _is_of(path: Path, reader: Reader, batch: float) -> bool:
    known = path.lstat()
    if not stat.S_ISREG(known.st_mode):
        return False
    decode = msgspec.json.Decoder(_Line).decode
    try:
        with path.open("rb") as file:
            for text in file:
                line = decode(text)
                if line.batch is None:
                    # Version 0.1 wrote no batch: the file is newer than it, and has its items.
                    if known.st_mtime < batch or not _has(reader, line.id):
                        return False
                elif line.batch != batch:
                    return False
            # An empty one was made by a runner that was killed before it wrote.
            return known.st_size > 0 or known.st_mtime >= batch
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError):
        return False


def _has(reader: Reader, id: str) -> bool:
    try:
        return reader.find(id) is not None
    except JournalDamaged:
        return True
