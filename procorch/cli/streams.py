"""Standard output belongs to the data that a verb prints, everything else goes to standard error.

While a verb runs, descriptor 1 is standard error, and the data has a descriptor of its own. So what
a library, a subprocess or a module of the user writes to standard output never stands between the
lines of ``--json``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

import click


class Unwritable(click.ClickException):
    """Standard output does not take the data."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror}")


class _Data:
    """Standard output: what cannot be written is an error in one line."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._terminal = file.isatty()

    def write(self, text: str) -> int:
        with self._told():
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with self._told():
            self._file.flush()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # whoever reads has had enough, which click knows how to end
            if not (error.errno == errno.EIO and self._terminal):  # else its terminal is closed
                raise Unwritable(error) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Notes:
    """Standard error: progress that cannot be shown must not end the work."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


_data: TextIO | None = None


def data() -> TextIO | None:
    """Where data goes; None: nowhere, as standard output is closed."""
    return _data or sys.stdout


def descriptors() -> list[int]:
    """Where data and notes go, as far as they go to descriptors."""
    found = []
    for file in (data(), sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # it is none, or is closed
            found += [] if file is None else [file.fileno()]
    return found


def on_a_terminal() -> bool:
    """Whether data goes to a terminal."""
    file = data()
    return file is not None and file.isatty()


def emit(text: str, nl: bool = True) -> None:
    """Print data on standard output, at once."""
    click.echo(text, file=data(), nl=nl)  # noqa: TID251


def note(text: str) -> None:
    """Print a line for a person on standard error."""
    click.echo(text, err=True)  # noqa: TID251


@contextlib.contextmanager
def separated() -> Iterator[None]:
    """Keep standard output for `emit` and `data` until the block is left."""
    global _data
    _reserve_numbers()
    shown, told = sys.stdout, sys.stderr
    if told is not None:
        sys.stderr = cast(TextIO, _Notes(told))
    try:
        if not _is_standard(shown):
            yield  # closed, or what another program has put there is its own
            return
        shown.flush()
        fd = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
        with open(fd, "w", encoding=shown.encoding, errors=shown.errors, closefd=False) as file:
            _data = cast(TextIO, _Data(file))
            _become_standard_error()
            try:
                yield
                _data.flush()
            finally:
                _data = None
                with contextlib.suppress(OSError, ValueError):
                    shown.flush()
                os.dup2(fd, 1)
                _lead_nowhere(fd)  # or what could not be written fails again, at the closing
        os.close(fd)
    finally:
        sys.stderr = told
        if told is not None:
            try:
                told.flush()
            except OSError:  # Python would try again at its end, and exit with 120
                _lead_nowhere(told.fileno(), inheritable=True)


def _lead_nowhere(fd: int, inheritable: bool = False) -> None:
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), fd, inheritable=inheritable)


def _is_standard(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.fileno() == 1
    except (OSError, ValueError):
        return False


def _reserve_numbers() -> None:
    """Have closed standard streams lead nowhere: a file that got the number of one, such as the
    journal, would be damaged by whatever writes there."""
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:
        os.set_inheritable(fd, True)
        fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)


def _become_standard_error() -> None:
    os.dup2(2, 1)
    # What is printed comes in the order of what other code writes to the same place.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
