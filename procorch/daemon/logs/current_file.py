"""The file that the lines of one agent are appended to, whatever the disk does.

Whole lines are in it at any time: what a full disk took of the last ones is cut off again, and they
wait in memory. What does not fit there is counted, and a line says how much is missing as soon as
the disk takes writes again. A line that a kill has cut in two is removed at the next start.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from procorch.daemon.logs.folder import LogFolder
from procorch.daemon.logs.lines import LONGEST, parse

PENDING = 4 << 20
"""Bytes that wait in memory for the disk, of all agents together."""
_RETRY = 0.2
"""Seconds between two tries on a disk that takes nothing."""
_BLOCK = 1 << 16


class Record(NamedTuple):
    """A line as it is written, with its newline; ``size``: bytes of output that it stands for."""

    data: bytes
    size: int


class Room:
    """Bytes of memory that may still be used for lines that wait."""

    def __init__(self) -> None:
        self.left: int = PENDING


class CurrentFile:
    """The file of one agent. Its owner holds a lock around each call.

    Args:
        folder: where it is.
        log: its name.
        number: the number of the last rotated file.
        room: shared with the files of the other agents.
        gap: makes the line that says how many bytes are missing.

    Attributes:
        number: the number that it gets when it is rotated.
        size: its bytes that hold whole lines.
        born: when its first line was written, in seconds since the epoch; None: it has none.
        lost: bytes of output that are missing, and that no line says so of yet.
        trouble: why the disk took nothing the last time.
    """

    def __init__(
        self,
        folder: LogFolder,
        log: str,
        number: int,
        room: Room,
        gap: Callable[[float, int], bytes],
    ) -> None:
        self.log: str = log
        self.number: int = number + 1
        self.size: int = 0
        self.born: float | None = None
        self.lost: int = 0
        self.trouble: OSError | None = None
        self._folder = folder
        self._room = room
        self._gap = gap
        self._fd = -1
        self._waiting: deque[Record] = deque()
        self._next_try = 0.0

    @property
    def behind(self) -> bool:
        """Whether something waits for the disk."""
        return bool(self._waiting or self.lost)

    def append(self, records: Sequence[Record], now: float, steady: float) -> None:
        """Write lines, or keep them as far as there is room for them.

        Args:
            now: the time of day. ``steady``: monotonic time.
        """
        if self.behind and not self.catch_up(now, steady):
            self._keep(records)
            return
        try:
            self._write(b"".join(record.data for record in records), now)
        except OSError as error:
            self.trouble, self._next_try = error, steady + _RETRY
            self._keep(records)

    def catch_up(self, now: float, steady: float) -> bool:
        """Write what waits; returns whether nothing is left."""
        if steady < self._next_try:
            return False
        try:
            while self._waiting:
                record = self._waiting[0]
                self._write(record.data, now)
                self._waiting.popleft()
                self._room.left += len(record.data)
            if self.lost:
                self._write(self._gap(now, self.lost), now)
                self.lost = 0
        except OSError as error:
            self.trouble, self._next_try = error, steady + _RETRY
            return False
        self.trouble = None
        return True

    def _keep(self, records: Sequence[Record]) -> None:
        for record in records:
            if not self.lost and len(record.data) <= self._room.left:
                self._waiting.append(record)
                self._room.left -= len(record.data)
            else:
                self.lost += record.size

    def _write(self, data: bytes, now: float) -> None:
        """Write all of it, or raise and leave the file as it was."""
        if self._fd < 0:
            self.open()
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:] if written else data)
        except OSError:
            if written:
                os.ftruncate(self._fd, self.size)
            raise
        if not self.size:
            self.born = now
        self.size += written

    def look(self) -> None:
        """Open the file if it is there already; trouble is noted, not raised."""
        try:
            if (file := self._folder.open_to_read(self.log)) is not None:
                file.close()
                self.open()
        except OSError as error:
            self.trouble = error

    def open(self) -> None:
        """Open the file, and remove the end of it that is no whole line.

        Raises:
            OSError: as it comes.
        """
        fd = self._folder.open_to_write(self.log)
        try:
            size = os.fstat(fd).st_size
            self.size = _whole_lines(fd, size)
            if self.size < size:
                os.ftruncate(fd, self.size)
                self.lost += size - self.size
            self.born = _first_time(fd) if self.size else None
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def rotate(self) -> str:
        """Rotate the file; the next line begins another one.

        Returns:
            The new name of this one.

        Raises:
            OSError: as it comes; this file goes on.
        """
        name = self._folder.rotate(self.log, self.number)
        self.number += 1
        self.size, self.born = 0, None
        self._close_file()
        return name

    def notice_removal(self) -> None:
        """Begin the file anew if somebody has removed it."""
        if self._fd >= 0 and os.fstat(self._fd).st_nlink == 0:
            self.number += 1
            self.size, self.born = 0, None
            self._close_file()

    def _close_file(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def close(self, now: float) -> None:
        """Write what waits, if the disk takes it, and close the file."""
        if self.behind:
            self._next_try = 0.0
            self.catch_up(now, 0.0)
        self._close_file()


def _whole_lines(fd: int, size: int) -> int:
    """The size of a file up to its last newline."""
    end = size
    while end:
        start = max(0, end - _BLOCK)
        at = os.pread(fd, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


def _first_time(fd: int) -> float:
    """The time of the first line of a file, or of its last change if there is none in that."""
    head = os.pread(fd, 8 * LONGEST, 0)
    line = parse(head.partition(b"\n")[0])
    return os.fstat(fd).st_mtime if line is None else line.time
