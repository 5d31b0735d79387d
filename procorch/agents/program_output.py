"""What a program writes: it is passed on while it comes, and read when the program has ended."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from procorch.agents.context import Context
from procorch.agents.result_files import ResultFiles
from procorch.errors import MessageTooLarge

Form: TypeAlias = Literal["text", "json", "jsonl", "bytes"] | None
"""What standard output is read as; None: it is dropped."""
TAIL = 4096
"""Bytes of standard error that an error carries."""
_LAST = 1 << 16
"""Bytes of standard output that a program which failed leaves in the agent's own."""


class UnreadableOutput(Exception):
    """Standard output is not what it should be; the text says where."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How standard output is read; see `procorch.command`."""

    form: Form = "text"
    encoding: str = "utf-8"
    errors: str = "strict"

    def read(self, data: bytes) -> Any:
        """The answer of a program that wrote ``data``.

        Raises:
            UnreadableOutput: it is not of this form; the text says where.
        """
        match self.form:
            case None:
                return None
            case "bytes":
                return data
            case "text":
                return self._decoded(data)
            case "json":
                return _json(self._decoded(data), "standard output")
            case "jsonl":
                lines = enumerate(self._decoded(data).split("\n"), 1)
                return [_json(each, f"line {n} of it") for n, each in lines if each.strip()]

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode(self.encoding, self.errors)
        except UnicodeDecodeError as error:
            raise UnreadableOutput(_undecodable(self.encoding, error)) from None

    def pieces(self, emit: Callable[[str], None]) -> Callable[[bytes], None]:
        """Decodes what comes in pieces and passes it on."""
        decoder = codecs.getincrementaldecoder(self.encoding)(self.errors)

        def take(data: bytes) -> None:
            try:
                text = decoder.decode(data)
            except UnicodeDecodeError as error:
                raise UnreadableOutput(_undecodable(self.encoding, error)) from None
            emit(text)

        return take


class ProgramOutput:
    """Takes what a program writes, while it runs.

    Standard error is passed on to the agent's own, standard output to a caller who reads the answer
    while it comes (`OrchestratedHandle.stream`). Both count as progress for the watchdog.

    Args:
        limit: bytes of standard output that are kept; None: any number.
        files: where both are written, too.
        worker: None: there is none, as in a test.
    """

    def __init__(
        self, reading: Reading, limit: int | None, files: ResultFiles | None,
        worker: Context | None,
    ) -> None:  # fmt: skip
        self._keeps = reading.form is not None
        self._limit = limit
        self._files = files
        self._worker = worker
        self._emit: Callable[[bytes], None] | None = None
        if worker is not None and worker.streaming and reading.form not in (None, "bytes"):
            self._emit = reading.pieces(worker.emit)
        self._out: list[bytes] = []
        self._size = 0
        self._err = b""

    @property
    def stdout(self) -> bytes:
        """What has come on standard output."""
        return b"".join(self._out)

    @property
    def stderr_tail(self) -> str:
        """The end of what has come on standard error."""
        return self._err.decode("utf-8", "replace")

    def take_out(self, data: bytes) -> None:
        """A piece of standard output.

        Raises:
            MessageTooLarge: it is more than an answer may have.
            UnreadableOutput: it is not in the encoding that was said.
        """
        if self._worker is not None:
            self._worker.progress()
        if self._files is not None:
            self._files.write_out(data)
        if not self._keeps:
            return
        self._size += len(data)
        if self._limit is not None and self._size > self._limit:
            raise MessageTooLarge(
                what="the program's standard output", size=self._size, limit=self._limit
            )
        self._out.append(data)
        if self._emit is not None:
            self._emit(data)

    def take_err(self, data: bytes) -> None:
        """A piece of standard error."""
        if self._worker is not None:
            self._worker.progress()
        if self._files is not None:
            self._files.write_err(data)
        self._err = (self._err + data)[-TAIL:]
        write_all(2, data)

    def leave(self) -> None:
        """The program has failed: the end of its standard output goes to the agent's own."""
        write_all(1, self.stdout[-_LAST:])


def write_all(fd: int, data: bytes) -> None:
    """Write to a descriptor; one that is closed takes nothing."""
    view = memoryview(data)
    with suppress(OSError):
        while view:
            view = view[os.write(fd, view) :]


def _json(text: str, what: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise UnreadableOutput(f"{what} is not JSON: {error}") from None


def _undecodable(encoding: str, error: UnicodeDecodeError) -> str:
    return (
        f"standard output is not {encoding} ({error.reason}): errors='replace' (--errors replace) "
        "puts a mark there, output='bytes' (--stdout bytes) takes it as it is"
    )
