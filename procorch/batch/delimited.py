"""CSV and similar formats: rows of fields, and the character that separates the fields."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator

from procorch.batch.errors import BatchInputError
from procorch.batch.readers import Entry, Lines, Warn, decoded

_KNOWN = (",", ";", "\t", "|")
_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
_WRITTEN = {"tab": "\t", "\\t": "\t"}
_SEP = re.compile(r"sep=(.)\r?\n?")
"""The first line of files that some spreadsheets write: it names the delimiter."""


def delimiter_of(text: str) -> str:
    r"""The delimiter that a user has given: one character, or ``tab``, or ``\t``.

    Raises:
        ValueError: the text is something else.
    """
    found = _WRITTEN.get(text, text)
    if len(found) != 1 or found in '"\r\n\0':
        raise ValueError(f"delimiter: {text!r} is not one character; write ';', '|', or 'tab'")
    return found


def read_csv(
    name: str, lines: Lines, *, usual: str, delimiter: str | None, warn: Warn
) -> Iterator[Entry]:
    """Rows as dicts by the names of the first line.

    Args:
        usual: the delimiter of this format.
        delimiter: the delimiter of this file. None: ``usual``, unless the first rows have one
            column with it, and several columns with another known delimiter.
        warn: called if another delimiter than ``usual`` was found.
    """
    csv.field_size_limit(sys.maxsize)
    head = _Head(decoded(name, lines))
    named = head.delimiter()
    if delimiter is None:
        delimiter = named or _sniffed(head, usual)
        if delimiter not in (named, usual):
            warn(
                f"{name}: fields are taken to be separated by {_NAMES[delimiter]}, not by "
                f"{_NAMES[usual]}; delimiter= (--delimiter) says which"
            )
    last = [0]

    def texts() -> Iterator[str]:
        for number, text in head.rest():
            last[0] = number
            yield text

    rows = csv.reader(texts(), delimiter=delimiter, strict=True)
    try:
        columns = next(rows, [])
        twice = {column for column in columns if columns.count(column) > 1}
        if twice:
            raise BatchInputError(f"{name}:{last[0]}: column {min(twice)!r} is there twice")
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
            yield Entry(dict(zip(columns, row, strict=True)), str(begins), f"{name}:{begins}")
    except csv.Error as error:
        raise BatchInputError(f"{name}:{last[0]}: not CSV: {error}") from None


class _Head:
    """Numbered lines whose first ones can be read several times, until `rest` is called."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines = lines
        self._held: list[tuple[int, str]] = []

    def delimiter(self) -> str | None:
        """The delimiter that a first line ``sep=;`` names; that line is removed."""
        first = next(self._lines, None)
        if first is None:
            return None
        if found := _SEP.fullmatch(first[1]):
            return found[1]
        self._held.append(first)
        return None

    def again(self) -> Iterator[str]:
        """The lines from the beginning."""
        for _, text in self._held:
            yield text
        for each in self._lines:
            self._held.append(each)
            yield each[1]

    def rest(self) -> Iterator[tuple[int, str]]:
        """From the beginning for the last time: the lines are no longer kept."""
        yield from self._held
        self._held.clear()
        yield from self._lines


def _sniffed(head: _Head, usual: str) -> str:
    """The usual delimiter, or another one if the first two rows have more columns with it."""
    columns, fits = _columns(head, usual)
    if fits and columns > 1:
        return usual
    found = {each: _columns(head, each) for each in _KNOWN if each != usual}
    better = [(count, each) for each, (count, fits) in found.items() if fits and count > 1]
    # If the first row lacks a field, the file is malformed; this shows no other delimiter.
    most, delimiter = max(better, default=(0, usual))
    return delimiter if most >= columns else usual


def _columns(head: _Head, delimiter: str) -> tuple[int, bool]:
    """How many fields the first row has, and whether the second one has as many."""
    rows = csv.reader(head.again(), delimiter=delimiter, strict=True)
    count = 0
    try:
        count = len(next(rows, []))
        # The next row of a single column shows nothing, so it is not waited for.
        return count, count > 1 and len(next(filter(None, rows), [])) == count
    except csv.Error:
        return count, False
