"""The standard output and error of workers: kept in memory, and written on.

The monitor thread keeps the last bytes of each stream of each agent in a ring (`Output`). Another
thread writes them to this program's standard error or to a file (`Echo`).
"""

from __future__ import annotations

import logging
import os
import select
import sys
from typing import TypeAlias, get_args

from procorch.clock import Clock
from procorch.launch.base import Stream
from procorch.runtime.backlog import Backlog

_log = logging.getLogger("procorch")

RING = 65536
"""Bytes kept of each stream of an agent."""
TAIL = 4096
"""Bytes of standard error that an `AgentCrashed` carries."""

Target: TypeAlias = int | str
"""Where output is written: a descriptor, or the path of a file."""

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2


class Output:
    """The output of one agent, over all its generations. Only the owner of the loop writes to it.

    Args:
        setting: see `AgentSettings.output`.

    Attributes:
        written: how many bytes were written so far on standard output and error.
        shared: several requests run at once, and nobody knows which of them has written it.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, setting: str = "inherit") -> None:
        self.captures_stdout: bool = setting != "inherit"
        self.target: Target | None = None
        if setting == "inherit":
            self.target = STANDARD_ERROR
        elif setting != "capture":
            self.target = os.path.abspath(setting)
            os.close(_open(self.target))  # fail now if the file cannot be written
        self._rings: dict[Stream, bytearray] = {name: bytearray() for name in get_args(Stream)}
        self._since = 0
        self._kept: dict[Stream, int] = dict.fromkeys(self._rings, 0)
        self.written: tuple[int, int] = (0, 0)
        self.shared: bool = False

    def begin(self, *, shared: bool = False) -> None:
        """A new generation begins: `tail` does not include earlier output."""
        self._since, self.shared = 0, shared

    def keep(self, stream: Stream, data: bytes) -> None:
        """A worker wrote ``data``."""
        if stream == "stderr":
            self._since += len(data)
        self._kept[stream] += len(data)
        self.written = self._kept["stdout"], self._kept["stderr"]
        ring = self._rings[stream]
        ring += data
        if len(ring) > RING:
            del ring[:-RING]

    def text(self, stream: Stream) -> str:
        """The bytes kept of a stream, as text; from any thread, because the copy is atomic."""
        return _text(bytes(self._rings[stream]))

    def since(self, mark: tuple[int, int]) -> tuple[str, str]:
        """The text written on standard output and error since ``mark``, as far as it is kept.

        It is empty for a stream that is not captured.

        Args:
            mark: an earlier value of `written`.
        """
        names: tuple[Stream, Stream] = ("stdout", "stderr")
        sizes = [
            min(after - before, RING) for before, after in zip(mark, self.written, strict=True)
        ]
        out, err = (
            _text(bytes(self._rings[name][-size:])) if size else ""
            for name, size in zip(names, sizes, strict=True)
        )
        return out, err

    def tail(self) -> str:
        """The end of the standard error of the current generation."""
        size = min(self._since, TAIL)
        return _text(bytes(self._rings["stderr"][-size:])) if size else ""


def _text(data: bytes) -> str:
    """Decode ``data``, without the rest of a character that the ring has cut."""
    start = 0
    while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
        start += 1
    return data[start:].decode("utf-8", "replace")


class Echo(Backlog[Target]):
    """Writes output to descriptors and files."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._complained: set[Target] = set()

    def _tell(self, to: Target, lost: int) -> None:
        self._write(to, b"\n[procorch: %d bytes of output are missing here]\n" % lost)

    def _write(self, to: Target, data: bytes) -> None:
        try:
            _write(to, data)
        except OSError as error:
            # Our standard error has no reader any more, or a disk is full: workers go on. A
            # warning names each file once; the next output is tried again.
            if to != STANDARD_ERROR and to not in self._complained:
                self._complained.add(to)
                _log.warning("cannot write the output of an agent to %s: %s", to, error)


def _open(path: str) -> int:
    """Open the file of an agent for one write: it uses no descriptor in between, and log rotation
    may move it. A FIFO without a reader does not block this; symbolic links are not followed."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _write(target: Target, data: bytes) -> None:
    if isinstance(target, str):
        fd = _open(target)
        try:
            _write_to(fd, data)
        finally:
            os.close(fd)
    # A program may have closed its standard error. Another file then has the number, usually one
    # that child processes do not inherit.
    elif sys.__stderr__ is not None and os.get_inheritable(target):
        _write_to(target, data)


def _write_to(fd: int, data: bytes) -> None:
    """Write all of ``data`` to a descriptor, and wait as long as that takes."""
    view = memoryview(data)
    while len(view):
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # other code has made our standard error non-blocking
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
