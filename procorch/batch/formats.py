"""File formats: which format a file has, and its reader."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from procorch.batch import readers
from procorch.batch.delimited import read_csv
from procorch.batch.errors import BatchInputError
from procorch.batch.readers import Entry, Lines, Warn

FORMATS = ("auto", "jsonl", "json", "csv", "tsv", "lines", "parquet", "dir")
_BY_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "lines",
    ".parquet": "parquet",
}
_BY_LINE = ("jsonl", "json", "csv", "tsv", "lines")
"""Formats that can be read from a pipe."""


class FileFormat(Struct, frozen=True):
    """How a file is read: one of `FORMATS`, and the delimiter where it is given."""

    name: str
    delimiter: str | None

    def known(self, suffix: str, name: str, usual: str = "") -> FileFormat:
        """The format of a file with this suffix.

        Args:
            suffix: of the file.
            name: of the file, for errors.
            usual: the format if the suffix does not say it.

        Raises:
            BatchInputError: the format is not known, or has no delimiter.
        """
        form = self.name
        if form == "auto":
            form = _BY_SUFFIX.get(suffix.lower(), "csv" if self.delimiter else usual)
        if not form:
            raise BatchInputError(
                f"{name}: the format of {suffix or 'a file without a suffix'} is not known; "
                f"say which: {', '.join(FORMATS[1:])}"
            )
        if self.delimiter is not None and form not in ("csv", "tsv"):
            raise BatchInputError(
                f"{name} is read as {form}, which has no delimiter; format='csv' (--format csv) "
                "reads it as CSV"
            )
        return FileFormat(form, self.delimiter)

    @property
    def by_line(self) -> bool:
        """Whether a pipe can be read in this format."""
        return self.name in _BY_LINE

    def entries(self, name: str, lines: Lines, warn: Warn) -> Iterator[Entry]:
        """The values in the lines of a file.

        Args:
            name: of the file.
            warn: called with what the user should know, though it is no error.
        """
        match self.name:
            case "jsonl":
                return readers.read_jsonl(name, lines, warn)
            case "json":
                return readers.read_json(name, lines, warn)
            case "lines":
                return readers.read_text(name, lines)
            case _:
                usual = "\t" if self.name == "tsv" else ","
                return read_csv(name, lines, usual=usual, delimiter=self.delimiter, warn=warn)
