"""Where items come from. Everything is read lazily: memory stays flat, however many there are.

A source that can be read twice (a file, a directory) is read once before the work begins. That
finds a malformed line and a name that is there twice now and not in the middle of the night, and
gives the number of items and a fingerprint by which a changed input is known.
"""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from procorch.batch import readers
from procorch.batch.errors import BatchInputError
from procorch.batch.items import SourceItem
from procorch.batch.names import Names
from procorch.batch.readers import Saw, unseen

FORMATS = ("auto", "jsonl", "csv", "tsv", "lines", "parquet", "dir")
_BY_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "lines",
    ".parquet": "parquet",
}
_ENVELOPE = "procorch"
"""The key that marks a line of ours: an item with its id, see `report.failed_line`."""
_SHUFFLE = 10_000

IdOf: TypeAlias = str | Callable[[Any], object] | None
"""How an item is named: a field, a function, or None: its field ``id`` or its place."""


class Source(Protocol):
    """A stream of items.

    Attributes:
        name: what it is, for a person.
        live: the next item may be long in coming, so it is not waited for.
        repeatable: it can be read again from the beginning.
    """

    name: str
    live: bool
    repeatable: bool

    def items(self, saw: Saw = ...) -> Iterator[SourceItem]:
        """The items in order; ``saw`` is told of all that was read.

        Raises:
            BatchInputError: it cannot be read, or a part of it makes no sense.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scan:
    """What a source holds.

    Args:
        total: number of items.
        fingerprint: hash of all of it; None where there are no bytes to be hashed.
    """

    total: int
    fingerprint: str | None


def scan(source: Source, accept: Callable[[SourceItem], bool]) -> Scan:
    """Read a source to its end; ``accept`` says which of its items count.

    Raises:
        BatchInputError: it cannot be read, a part of it makes no sense, or a name is there twice.
    """
    hashed, nothing = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16).digest()
    names = Names()
    total = 0
    for item in source.items(hashed.update):
        names.add(item.id)
        total += accept(item)
    names.check(source.items())
    return Scan(total, None if hashed.digest() == nothing else hashed.hexdigest())


def open_source(items: object, *, form: str = "auto", id: IdOf = None) -> Source:
    """The source of a path, of ``-`` for standard input, or of any iterable.

    Args:
        form: one of `FORMATS`.
        id: how an item is named.

    Raises:
        BatchInputError: there is no such file, or its format is not known.
        TypeError: what is given is neither a path nor an iterable.
    """
    if form not in FORMATS:
        raise ValueError(f"format={form!r}; known: {', '.join(FORMATS)}")
    if isinstance(items, str | os.PathLike):
        if os.fspath(items) == "-":
            return Pipe(0, "standard input", "jsonl" if form == "auto" else form, id)
        return _open_path(Path(os.fspath(items)), form, id)
    if not isinstance(items, Iterable):
        raise TypeError(f"items must be a path or an iterable, not {type(items).__name__}")
    return Given(items, id)


def _open_path(path: Path, form: str, id: IdOf) -> Source:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BatchInputError(f"{path} cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        return Directory(path, id)
    if form == "auto":
        suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
        form = _BY_SUFFIX.get(suffix.lower(), "")
        if not form:
            raise BatchInputError(
                f"{path}: the format of {suffix or 'a file without a suffix'} is not known; "
                f"say which: {', '.join(FORMATS[1:])}"
            )
    if form == "dir":
        raise BatchInputError(f"{path} is not a directory")
    if stat.S_ISFIFO(mode) and form != "parquet":
        return Pipe(path, str(path), form, id)
    try:
        path.open("rb").close()
    except OSError as error:
        raise BatchInputError(f"{path} cannot be read: {error.strerror}") from None
    return File(path, form, id)


class File:
    """A file of one of the formats."""

    live, repeatable = False, True

    def __init__(self, path: Path, form: str, id: IdOf) -> None:
        self.name = str(path)
        self._path = path
        self._form = form
        self._id = id

    def items(self, saw: Saw = unseen) -> Iterator[SourceItem]:
        """See `Source`."""
        if self._form == "parquet":
            entries = readers.read_parquet(self._path, saw)
        else:
            entries = _entries(self.name, self._form, readers.lines_of(self._path, saw))
        yield from _numbered(self.name, entries, self._id)


class Pipe:
    """Lines that another program writes while we work.

    Args:
        opened: a descriptor, or the path of a pipe, which is opened when it is first read: opening
            waits for the program that writes.
    """

    live, repeatable = True, False

    def __init__(self, opened: int | Path, name: str, form: str, id: IdOf) -> None:
        if form not in ("jsonl", "csv", "tsv", "lines"):
            raise BatchInputError(f"{name}: {form} cannot be read from a pipe")
        self.name = name
        self._opened = opened
        self._form = form
        self._id = id

    def items(self, saw: Saw = unseen) -> Iterator[SourceItem]:
        """See `Source`."""
        # Closed at once whatever is raised: the traceback would keep the descriptor open.
        with closing(readers.lines_of_pipe(self._opened, self.name)) as lines:
            yield from _numbered(self.name, _entries(self.name, self._form, lines), self._id)


class Directory:
    """The files below a directory: an item is a path, its id the path within the directory."""

    live, repeatable = False, True

    def __init__(self, path: Path, id: IdOf) -> None:
        if id is not None and not callable(id):
            raise BatchInputError(f"{path} is a directory: its items have no field {id!r}")
        self.name = str(path)
        self._path = path
        self._id = id

    def items(self, saw: Saw = unseen) -> Iterator[SourceItem]:
        """See `Source`."""
        files = readers.read_directory(self._path, saw)
        for position, (path, name, size, when) in enumerate(files):
            given = name if self._id is None else _id_of(path, self._id, name, path)
            yield SourceItem(_clean(given), path, position, path, (size, when))


class Given:
    """Any iterable of Python's; it is read on the thread that runs the batch."""

    live = False

    def __init__(self, items: Iterable[Any], id: IdOf) -> None:
        self.name = f"a {type(items).__name__}"
        self.repeatable = isinstance(items, list | tuple | range)
        self._items = items
        self._id = id

    def items(self, saw: Saw = unseen) -> Iterator[SourceItem]:
        """See `Source`."""
        for position, value in enumerate(self._items):
            where = f"item {position}"
            name, value = _named(value, self._id, str(position), where)
            yield SourceItem(name, value, position, where)


def shuffled(items: Iterator[SourceItem], seed: int) -> Iterator[SourceItem]:
    """Items in an order that ``seed`` decides, drawn from a window of 10,000 of them."""
    chance = random.Random(seed)
    window: list[SourceItem] = []
    for item in items:
        if len(window) < _SHUFFLE:
            window.append(item)
            continue
        place = chance.randrange(_SHUFFLE)
        window[place], item = item, window[place]
        yield item
    chance.shuffle(window)
    yield from window


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``index`` (from 1) of ``of``; an item's part follows from its id alone."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``2/8``.

        Raises:
            ValueError: it is something else.
        """
        index, slash, of = text.partition("/")
        if not (slash and index.isdigit() and of.isdigit() and 1 <= int(index) <= int(of)):
            raise ValueError(f"shard: {text!r} is not a part; write 2/8 for the second of eight")
        return cls(int(index), int(of))

    def has(self, item: SourceItem) -> bool:
        """Whether the item is of this part."""
        hashed = hashlib.blake2b(item.id.encode(), digest_size=8).digest()
        return int.from_bytes(hashed) % self.of == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"


def _entries(name: str, form: str, lines: readers.Lines) -> Iterator[readers.Entry]:
    if form == "jsonl":
        return readers.read_jsonl(name, lines)
    if form == "lines":
        return readers.read_text(name, lines)
    return readers.read_csv(name, lines, "\t" if form == "tsv" else ",")


def _numbered(name: str, entries: Iterator[readers.Entry], id: IdOf) -> Iterator[SourceItem]:
    for position, (value, line) in enumerate(entries):
        where = f"{name}:{line}"
        given, value = _named(value, id, str(line), where)
        yield SourceItem(given, value, position, where)


def _named(value: Any, id: IdOf, place: str, where: str) -> tuple[str, Any]:
    """An item's id and its value; a line of ours is unwrapped."""
    if isinstance(value, dict) and _ENVELOPE in value and {"id", "input"} <= value.keys():
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
    """Text that can be kept: names of files may hold what is no UTF-8."""
    return id.encode("utf-8", "backslashreplace").decode()
