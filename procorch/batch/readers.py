"""Readers of file formats: each yields the values of a file, and where they are in it."""

from __future__ import annotations

import codecs
import gzip
import itertools
import os
import re
import select
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import msgspec

from procorch.batch.errors import BatchInputError

Warn: TypeAlias = Callable[[str], None]
"""Called with a text that the user should know, though it is no error."""


class Entry(NamedTuple):
    """A value that was read.

    Args:
        place: its line or index, which names the item if nothing else does.
        where: the same for a person.
    """

    value: Any
    place: str
    where: str


OnRead: TypeAlias = Callable[[bytes], object]
"""Called with all bytes that are read, for a fingerprint."""


def ignore_bytes(data: bytes) -> None:
    """Take no fingerprint."""


_UTF_16 = "is UTF-16, and must be UTF-8: `iconv -f UTF-16 -t UTF-8` converts it"
_FOREIGN = {
    codecs.BOM_UTF16_LE: _UTF_16,
    codecs.BOM_UTF16_BE: _UTF_16,
    b"\x1f\x8b": "is packed by gzip; a name that ends with .gz says so",
}
"""First bytes of files that are not text in UTF-8, and what is said about them."""
_DOCUMENT = "; of one document over many lines the format is json (--format json)"

Lines: TypeAlias = Generator[tuple[int, bytes], None, None]


def lines_of(path: Path, saw: OnRead) -> Lines:
    """Lines of a file, numbered from 1; ``.gz`` is unpacked."""
    try:
        file: IO[bytes]
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:  # type: ignore[assignment]
            for number, line in enumerate(file, 1):
                saw(line)
                yield number, line
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BatchInputError(f"{path} cannot be unpacked: {error}") from None
    except OSError as error:
        raise BatchInputError(f"{path} cannot be read: {error.strerror}") from None


def lines_of_pipe(opened: int | Path, name: str) -> Lines:
    """Lines of a descriptor, or of a pipe that has a path, as they arrive.

    They are read without a buffer of Python's: if a thread waited in one at the end of the
    interpreter, the interpreter would abort. Another program may have made the descriptor
    non-blocking, hence the poll.

    Raises:
        BatchInputError: the descriptor cannot be read.
    """
    number = 0
    begun: list[bytes] = []  # joined once for each line, so a long line takes linear time
    try:
        fd = opened if isinstance(opened, int) else os.open(opened, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while chunk := _next_chunk(fd):
                first, *more = chunk.split(b"\n")
                begun.append(first)
                for line in more:
                    number += 1
                    yield number, b"".join([*begun, b"\n"])
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


def read_jsonl(name: str, lines: Iterator[tuple[int, bytes]], warn: Warn) -> Iterator[Entry]:
    """One JSON value a line; empty lines are nothing."""
    decode = msgspec.json.Decoder().decode
    count = 0
    value: Any = None
    for number, line in _texts(name, lines):
        if not line.strip():
            continue
        try:
            value = decode(line)
        except _NOT_JSON as error:
            _check_utf8(f"{name}:{number}", line)
            hint = _DOCUMENT if not count and line.lstrip()[:1] in b"[{" else ""
            raise BatchInputError(f"{name}:{number}: not JSON: {error}{hint}") from None
        count += 1
        yield Entry(value, str(number), f"{name}:{number}")
    if count == 1 and _is_table(value):
        warn(
            f"{name} is one line with one array, which is one item; format='json' "
            f"(--format json) makes items of its {len(value)} elements"
        )


def read_json(name: str, lines: Lines, warn: Warn) -> Iterator[Entry]:
    """One JSON document, whose elements are the items if it is an array; or a value a line.

    It is a value a line where the first of several lines is a value by itself. A document is held
    in memory as text; its elements are decoded one by one.
    """
    filled = ((number, line) for number, line in _texts(name, lines) if line.strip())
    head = list(itertools.islice(filled, 2))
    rest = itertools.chain(head, filled)
    if len(head) == 2 and _is_json(head[0][1]):
        yield from read_jsonl(name, rest, warn)
        return
    data = bytearray()
    numbers = []
    for number, line in rest:
        data += line
        numbers.append(number)
    if not data:
        return
    decode = msgspec.json.Decoder().decode
    try:
        if not data.lstrip().startswith(b"["):
            yield Entry(decode(data), str(numbers[0]), f"{name}:{numbers[0]}")
            return
        for index, element in enumerate(msgspec.json.decode(data, type=list[msgspec.Raw])):
            yield Entry(decode(element), str(index), f"{name}, element {index}")
    except _NOT_JSON as error:
        _check_utf8(name, data)
        found = re.search(r"\(byte (\d+)\)", str(error))
        before = len(data) if found is None else int(found[1])
        number = numbers[min(data.count(b"\n", 0, before), len(numbers) - 1)]
        raise BatchInputError(
            f"{name}:{number}: not JSON: {error}; it must be one document, or one value a line"
        ) from None


_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises; which one for text that is not UTF-8 depends on its version."""


def _check_utf8(where: str, data: bytes | bytearray) -> None:
    """Raise `BatchInputError` where what could not be read is not even UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise BatchInputError(f"{where}: not UTF-8: {error.reason}") from None


def _is_table(value: Any) -> bool:
    several = isinstance(value, list) and len(value) > 1
    return several and all(isinstance(each, dict) for each in value)


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except _NOT_JSON:
        return False
    return True


def read_text(name: str, lines: Lines) -> Iterator[Entry]:
    """Each line as text, without its end; empty lines are nothing."""
    for number, text in decoded(name, lines):
        if line := text.rstrip("\r\n"):
            yield Entry(line, str(number), f"{name}:{number}")


def read_parquet(path: Path, saw: OnRead) -> Iterator[Entry]:
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
                    yield Entry(row, str(number), f"{path}:{number}")
        if saw is not ignore_bytes:
            for _ in lines_of(path, saw):
                pass
    except (pyarrow.ArrowException, OSError) as error:
        raise BatchInputError(f"{path}: not Parquet: {error}") from None


def decoded(name: str, lines: Lines) -> Iterator[tuple[int, str]]:
    """Numbered lines as text."""
    for number, line in _texts(name, lines):
        try:
            yield number, line.decode()
        except UnicodeDecodeError as error:
            raise BatchInputError(f"{name}:{number}: not UTF-8: {error.reason}") from None


def _texts(name: str, lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Lines without a byte order mark.

    Raises:
        BatchInputError: the file is not text in UTF-8.
    """
    for number, line in lines:
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
            for begins, what in _FOREIGN.items():
                if line.startswith(begins):
                    raise BatchInputError(f"{name}: {what}")
            if b"\0" in line:
                raise BatchInputError(f"{name}:1: not text: there is a NUL byte")
        yield number, line
