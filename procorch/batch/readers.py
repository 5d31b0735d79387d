"""Formats of files: each reader yields what a file holds, item by item, and where it stands."""

from __future__ import annotations

import csv
import gzip
import os
import select
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias

import msgspec

from procorch.batch.errors import BatchInputError

Entry: TypeAlias = tuple[Any, int | str]
"""A value, and its line, or its name in a directory."""

Saw: TypeAlias = Callable[[bytes], object]
"""Is told of all bytes that were read, for a fingerprint."""


def unseen(data: bytes) -> None:
    """Nobody wants to know."""


Lines: TypeAlias = Generator[tuple[int, bytes], None, None]


def lines_of(path: Path, saw: Saw) -> Lines:
    """Lines of a file, numbered from 1; ``.gz`` is unpacked."""
    try:
        file: IO[bytes]
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:  # type: ignore[assignment]
            for number, line in enumerate(file, 1):
                saw(line)
                yield number, line
    except (gzip.BadGzipFile, EOFError) as error:
        raise BatchInputError(f"{path} cannot be unpacked: {error}") from None
    except OSError as error:
        raise BatchInputError(f"{path} cannot be read: {error.strerror}") from None


def lines_of_pipe(opened: int | Path, name: str) -> Lines:
    """Lines of a descriptor, or of a pipe that has a path, as they come.

    Read without a buffer of Python's: a thread that waits in one at the end of the interpreter
    would be fatal. Another program may have made the descriptor non-blocking, hence the poll.

    Raises:
        BatchInputError: the descriptor cannot be read.
    """
    number = 0
    begun: list[bytes] = []  # joined once a line, so that a long line takes linear time
    try:
        fd = opened if isinstance(opened, int) else os.open(opened, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while chunk := _next_chunk(fd):
                first, *more = chunk.split(b"\n")
                begun.append(first)
                for line in more:
                    number += 1
                    yield number, b"".join(begun)
                    begun = [line]
        finally:
            if fd is not opened:
                os.close(fd)
    except OSError as error:
        raise BatchInputError(f"{name} cannot be read: {error.strerror}") from None
    if rest := b"".join(begun):
        yield number + 1, rest


def _next_chunk(fd: int) -> bytes:
    readable = select.poll()
    readable.register(fd, select.POLLIN)
    while True:
        try:
            return os.read(fd, 65536)
        except BlockingIOError:
            readable.poll()


def read_jsonl(name: str, lines: Lines) -> Iterator[Entry]:
    """One JSON value a line; empty lines are nothing."""
    decode = msgspec.json.Decoder().decode
    for number, line in lines:
        if not line.strip():
            continue
        try:
            yield decode(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line), number
        except (msgspec.DecodeError, RecursionError) as error:
            raise BatchInputError(f"{name}:{number}: not JSON: {error}") from None
        except UnicodeDecodeError as error:
            raise BatchInputError(f"{name}:{number}: not UTF-8: {error.reason}") from None


def read_text(name: str, lines: Lines) -> Iterator[Entry]:
    """Each line as text, without its end; empty lines are nothing."""
    for number, text in _decoded(name, lines):
        if line := text.rstrip("\r\n"):
            yield line, number


def read_csv(name: str, lines: Lines, delimiter: str) -> Iterator[Entry]:
    """Rows as dicts by the names of the first line."""
    csv.field_size_limit(sys.maxsize)
    last = [0]

    def texts() -> Iterator[str]:
        for number, text in _decoded(name, lines):
            last[0] = number
            yield text

    rows = csv.reader(texts(), delimiter=delimiter, strict=True)
    try:
        columns = next(rows, [])
        twice = {column for column in columns if columns.count(column) > 1}
        if twice:
            raise BatchInputError(f"{name}:1: column {min(twice)!r} is there twice")
        while True:
            begins = last[0] + 1
            row = next(rows, None)
            if row is None:
                return
            if not row:
                continue
            if len(row) != len(columns):
                raise BatchInputError(
                    f"{name}:{begins}: {len(row)} fields where the first line has {len(columns)}"
                )
            yield dict(zip(columns, row, strict=True)), begins
    except csv.Error as error:
        raise BatchInputError(f"{name}:{last[0]}: not CSV: {error}") from None


def read_parquet(path: Path, saw: Saw) -> Iterator[Entry]:
    """Rows as dicts, a batch of rows at a time.

    Raises:
        BatchInputError: pyarrow is not installed, or cannot read the file.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise BatchInputError(
            f"{path}: Parquet takes pyarrow, which is not installed: "
            "pip install 'procorch[parquet]'"
        ) from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield row, number
        if saw is not unseen:
            for _ in lines_of(path, saw):
                pass
    except (pyarrow.ArrowException, OSError) as error:
        raise BatchInputError(f"{path}: not Parquet: {error}") from None


def read_directory(path: Path, saw: Saw) -> Iterator[tuple[str, str, int, int]]:
    """Files below a directory in the order of their names: path, name, size, mtime in ns.

    Hidden files and directories are left out, links are not followed.
    """
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError as error:
        raise BatchInputError(f"{path} cannot be read: {error.strerror}") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            for below, name, size, when in read_directory(Path(entry.path), saw):
                yield below, f"{entry.name}/{name}", size, when
        elif entry.is_file(follow_symlinks=False):
            known = entry.stat(follow_symlinks=False)
            saw(f"{entry.path}\0{known.st_size}\0{known.st_mtime_ns}\0".encode(errors="replace"))
            yield entry.path, entry.name, known.st_size, known.st_mtime_ns


def _decoded(name: str, lines: Lines) -> Iterator[tuple[int, str]]:
    for number, line in lines:
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise BatchInputError(f"{name}:{number}: not UTF-8: {error.reason}") from None
