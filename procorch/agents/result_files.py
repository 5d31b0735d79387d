"""The output of each item's program in files of its own: ``procorch batch --results DIR``."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from typing import IO, Any, NamedTuple

_UNSAFE = re.compile(r"[^\w.,=+@-]|^[.-]")
_LONGEST = 200
"""Bytes of a name: file systems take 255, and a suffix follows."""


class Named(NamedTuple):
    """A request with the name of its item, which the names of its files are made of."""

    name: str
    value: Any


def file_name(item: str) -> str:
    """A name for files of an item: different items have different ones.

    Letters and digits stand as they are, other characters as ``%`` and their bytes in UTF-8; what
    is too long for a file system ends with a hash of the whole.
    """
    name = _UNSAFE.sub(_escaped, item) or "%"
    if len(os.fsencode(name)) <= _LONGEST:
        return name
    digest = hashlib.sha256(item.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    start = os.fsencode(name)[: _LONGEST - 17].decode("utf-8", "ignore")
    return f"{start}%{digest}"


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


class ResultFiles:
    """The two files of one item, which are written while its program runs.

    Standard output is in ``NAME.out``. What there is on standard error is in ``NAME.err``.

    Args:
        folder: where they are.
        item: its name.
    """

    def __init__(self, folder: str, item: str) -> None:
        self._path = os.path.join(folder, file_name(item))
        self._out: IO[bytes] = open(f"{self._path}.out", "wb", buffering=0)  # noqa: SIM115
        self._err: IO[bytes] | None = None
        with suppress(FileNotFoundError):
            os.unlink(f"{self._path}.err")  # of an earlier attempt

    def write_out(self, data: bytes) -> None:
        """Add to standard output."""
        _write(self._out, data)

    def write_err(self, data: bytes) -> None:
        """Add to standard error."""
        if self._err is None:
            self._err = open(f"{self._path}.err", "wb", buffering=0)  # noqa: SIM115
        _write(self._err, data)

    def close(self) -> None:
        """Close them."""
        self._out.close()
        if self._err is not None:
            self._err.close()


def _write(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
