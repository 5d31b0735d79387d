"""Sources of items. All are read lazily, so memory does not grow with the number of items.

A source that can be read twice (a file, a directory) is read once before the first item is run.
This finds malformed lines and duplicate names early, and gives the number of items and a
fingerprint by which a changed input is recognised.
"""

from __future__ import annotations

import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from procorch.batch import readers
from procorch.batch.delimited import delimiter_of
from procorch.batch.errors import BatchInputError, BatchInputWarning
from procorch.batch.folder import FolderWalk
from procorch.batch.formats import FORMATS, FileFormat
from procorch.batch.journal_files import OutputFiles
from procorch.batch.readers import OnRead, ignore_bytes
from procorch.batch.records import SourceItem

_ENVELOPE = "procorch"
"""The key of a line that procorch has written: an item with its id, see `report.failed_lines`."""
_LISTED = 5
"""Names that a message lists at most."""

IdOf: TypeAlias = str | Callable[[Any], object] | None
"""How an item gets its name: from a field, by a function, or (None) from its field ``id`` or its
place."""


class Source(Protocol):
    """A stream of items.

    Attributes:
        name: what it is, for a person.
        hint: added to the error that it has no items: why that may be so.
        slow: the next item may take long to arrive, so a thread reads it.
        repeatable: it can be read again from the beginning.
    """

    name: str
    hint: str
    slow: bool
    repeatable: bool

    def items(self, saw: OnRead = ...) -> Iterator[SourceItem]:
        """The items in order.

        Args:
            saw: called with all bytes that are read.

        Raises:
            BatchInputError: the source cannot be read, or is malformed.
        """
        ...

    def file(self) -> os.stat_result | None:
        """The status of the file that is read; None: it is not a single file."""
        ...

    def state(self) -> object:
        """A value that changes when the source changes; None: only reading it can show a change."""
        ...


def open_source(
    items: object,
    *,
    form: str = "auto",
    id: IdOf = None,
    delimiter: str | None = None,
    outputs: OutputFiles | None = None,
) -> Source:
    """The source of a path, of ``-`` for standard input, or of any iterable.

    Args:
        form: one of `FORMATS`.
        id: how an item gets its name.
        delimiter: of CSV and similar formats, see `read_csv`.
        outputs: files that the batch writes; they are refused as an input.

    Raises:
        BatchInputError: there is no such file, its format is not known, or the batch writes it.
        TypeError: ``items`` is neither a path nor an iterable.
        ValueError: an invalid format or delimiter.
    """
    if form not in FORMATS:
        raise ValueError(f"format={form!r}; known: {', '.join(FORMATS)}")
    how = FileFormat(form, None if delimiter is None else delimiter_of(delimiter))
    outputs = OutputFiles(None) if outputs is None else outputs
    if isinstance(items, str | os.PathLike) and not isinstance(os.fspath(items), bytes):
        source = _open_path(os.fspath(items), how, id, outputs)
    elif not isinstance(items, Iterable) or isinstance(items, bytes | bytearray | os.PathLike):
        raise TypeError(f"items must be a path or an iterable, not {type(items).__name__}")
    elif form != "auto" or delimiter is not None:
        raise ValueError(f"format and delimiter are for files, not for a {type(items).__name__}")
    else:
        source = IterableSource(items, id)
    outputs.refuse(source.name, source.file())
    return source


def _open_path(given: str, form: FileFormat, id: IdOf, outputs: OutputFiles) -> Source:
    if not given:
        raise BatchInputError("the input is an empty path: name a file, a folder, or -")
    if given == "-":
        _check_stdin()
        return PipeSource(0, "standard input", form.known("", "standard input", "jsonl"), id)
    path = Path(given)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BatchInputError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL byte
        raise BatchInputError(f"{given!r} cannot be read: {error}") from None
    if stat.S_ISDIR(mode):
        if form.delimiter is not None or form.name not in ("auto", "dir"):
            what = "delimiter" if form.delimiter else f"format {form.name}"
            raise BatchInputError(f"{path} is a directory, whose items are files: no {what}")
        return DirectorySource(path, id, outputs)
    suffix = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    form = form.known(suffix, str(path))
    if form.name == "dir":
        raise BatchInputError(f"{path} is not a directory")
    if not stat.S_ISREG(mode):
        return PipeSource(path, str(path), form, id)
    try:
        path.open("rb").close()
    except OSError as error:
        raise BatchInputError(f"{path} cannot be read: {error.strerror}") from None
    return FileSource(path, form, id)


def _check_stdin() -> None:
    """Refuse a closed standard input: descriptor 0 may then be another file."""
    stdin = sys.__stdin__
    with suppress(OSError):
        os.fstat(0)
        if stdin is not None and not stdin.closed:
            return
    raise BatchInputError("standard input cannot be read: it is closed")


class FileSource:
    """A file of one of the formats."""

    slow: bool = False
    repeatable: bool = True
    hint: str = ""

    def __init__(self, path: Path, form: FileFormat, id: IdOf) -> None:
        self.name: str = str(path)
        self._path = path
        self._form = form
        self._id = id
        self._warn = WarnOnce()

    def items(self, saw: OnRead = ignore_bytes) -> Iterator[SourceItem]:
        """See `Source`."""
        if self._form.name == "parquet":
            yield from _numbered(readers.read_parquet(self._path, saw), self._id)
            return
        # Closed at once if something is raised: the traceback would keep the descriptor open.
        with closing(readers.lines_of(self._path, saw)) as lines:
            yield from _numbered(self._form.entries(self.name, lines, self._warn), self._id)

    def file(self) -> os.stat_result | None:
        """See `Source`."""
        try:
            return self._path.stat()
        except OSError:
            return None

    def state(self) -> object:
        """See `Source`."""
        now = self.file()
        if now is None:
            return None
        # Also the time of the last change of the inode, which no program can set back.
        return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


class PipeSource:
    """Lines that another program writes while the batch runs.

    Args:
        opened: a descriptor, or the path of a pipe. A path is opened when it is first read, since
            opening waits for the program that writes.
    """

    slow: bool = True
    repeatable: bool = False
    hint: str = ""

    def __init__(self, opened: int | Path, name: str, form: FileFormat, id: IdOf) -> None:
        if not form.by_line:
            raise BatchInputError(f"{name}: {form.name} cannot be read from a pipe")
        self.name = name
        self._opened = opened
        self._form = form
        self._id = id
        self._warn = WarnOnce()

    def items(self, saw: OnRead = ignore_bytes) -> Iterator[SourceItem]:
        """See `Source`."""
        # Closed at once, see `FileSource`.
        with closing(readers.lines_of_pipe(self._opened, self.name)) as lines:
            yield from _numbered(self._form.entries(self.name, lines, self._warn), self._id)

    def file(self) -> os.stat_result | None:
        """See `Source`."""
        try:
            return os.stat(self._opened)
        except OSError:
            return None

    def state(self) -> object:
        """See `Source`."""
        return None


class DirectorySource:
    """The files below a directory: an item is a path, its id the path within the directory."""

    slow: bool = False
    repeatable: bool = True
    hint: str = " (hidden files are left out)"

    def __init__(self, path: Path, id: IdOf, outputs: OutputFiles) -> None:
        if id is not None and not callable(id):
            raise BatchInputError(f"{path} is a directory: its items have no field {id!r}")
        self.name: str = str(path)
        self._path = path
        self._id = id
        self._outputs = outputs
        self._warn = WarnOnce()

    def items(self, saw: OnRead = ignore_bytes) -> Iterator[SourceItem]:
        """See `Source`."""
        walk = FolderWalk(self._path, self._outputs)
        for position, (path, name, size, when) in enumerate(walk.files(saw)):
            given = name if self._id is None else _id_of(path, self._id, name, path)
            yield SourceItem(_clean(given), path, position, path, (size, when))
        if walk.left_out:
            self._warn(f"left out of {self.name}: {listed(walk.left_out)}")

    def file(self) -> os.stat_result | None:
        """See `Source`."""
        return None

    def state(self) -> object:
        """See `Source`."""
        return None


class IterableSource:
    """A Python iterable; it is read on the thread that runs the batch."""

    slow: bool = False
    hint: str = ""

    def __init__(self, items: Iterable[Any], id: IdOf) -> None:
        self.name: str = f"a {type(items).__name__}"
        self.repeatable: bool = isinstance(items, list | tuple | range)
        self._items = items
        self._id = id

    def items(self, saw: OnRead = ignore_bytes) -> Iterator[SourceItem]:
        """See `Source`."""
        for position, value in enumerate(self._items):
            where = f"item {position}"
            name, value = _named(value, self._id, str(position), where)
            yield SourceItem(name, value, position, where)

    def file(self) -> os.stat_result | None:
        """See `Source`."""
        return None

    def state(self) -> object:
        """See `Source`."""
        return len(self._items) if isinstance(self._items, Sized) else None


class WarnOnce:
    """Warns about the input; each warning is given once, however often the input is read."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, text: str) -> None:
        """Warn with `BatchInputWarning`."""
        if text not in self._said:
            self._said.add(text)
            warnings.warn(text, BatchInputWarning, stacklevel=2)


def listed(names: Sequence[str]) -> str:
    """``a, b, c and 7 more``."""
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _numbered(entries: Iterator[readers.Entry], id: IdOf) -> Iterator[SourceItem]:
    for position, (value, place, where) in enumerate(entries):
        given, value = _named(value, id, place, where)
        yield SourceItem(given, value, position, where)


def _named(value: Any, id: IdOf, place: str, where: str) -> tuple[str, Any]:
    """The id and the value of an item; a line that procorch has written is unwrapped."""
    if isinstance(value, dict) and value.get(_ENVELOPE) == 1 and {"id", "input"} <= value.keys():
        return _clean(str(value["id"])), value["input"]
    return _clean(_id_of(value, id, place, where)), value


def _id_of(value: Any, id: IdOf, place: str, where: str) -> str:
    if callable(id):
        return str(id(value))
    found = value.get(id or "id") if isinstance(value, Mapping) else None
    if found is None or (id is None and isinstance(found, dict | list)):
        if id is not None:
            raise BatchInputError(f"{where}: there is no field {id!r} to name the item by")
        return place
    return str(found)


def _clean(id: str) -> str:
    """Text that can be stored: names of files may contain bytes that are not UTF-8."""
    return id.encode("utf-8", "backslashreplace").decode()
