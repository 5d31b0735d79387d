"""The folder of the log files: their names, and what is done to them.

``NAME.log`` is the file that is written. A rotated one gets a time and a number after its name, and
``.gz`` when it is compressed: ``NAME.log.20261129T120000-000001.gz``. Its number alone says which
one comes next, since the clock may jump. Everything is opened relative to the folder and without
following links.

Races with a kill at any moment:

* *Between a rotation and the compression* a rotated file stays as it is: it is complete, readers
  read it, and the next start compresses it.
* *During the compression* a ``.tmp`` is left over, which the next start removes.
* *Before the uncompressed file is removed* both are there and equal: readers take one of the two.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import stat
import time
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import IO, NamedTuple, cast

_ROTATED = re.compile(r"(?P<log>.+\.log)\.\d{8}T\d{6}-(?P<number>\d{6,})(?P<packed>\.gz)?")
_UNSAFE = re.compile(r"^\.|[^A-Za-z0-9._-]")
_LONGEST_NAME = 150
_BLOCK = 1 << 18
_OURS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class LogFile(NamedTuple):
    """One file of the folder.

    Args:
        name: in the folder.
        log: the name of the file that it was while it was written.
        number: its number; 0: it was not rotated.
        packed: it is compressed.
        time: when it was last written, in seconds since the epoch.
    """

    name: str
    log: str
    number: int
    packed: bool
    size: int
    time: float


@lru_cache(4096)
def file_of(agent: str) -> str:
    """The name of an agent's log file; characters that a file name should not have are coded."""
    name = _UNSAFE.sub(lambda found: "".join(f"%{it:02X}" for it in found[0].encode()), agent)
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}~{sha256(agent.encode()).hexdigest()[:16]}"
    return f"{name}.log"


class LogFolder:
    """A folder of log files, made with mode 0700 where there is none.

    Raises:
        OSError: it cannot be made or used; also if it is a link, or belongs to another user.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(self._fd).st_uid != os.geteuid():
                raise PermissionError(f"the folder of logs {path} belongs to another user")
            os.fchmod(self._fd, 0o700)
        except BaseException:
            os.close(self._fd)
            raise

    def open_to_write(self, log: str) -> int:
        """Open a log file to append to it, made with mode 0600 where there is none.

        Raises:
            OSError: as it comes; also if it is a link, no regular file, or of another user.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | _OURS
        fd = os.open(log, flags, 0o600, dir_fd=self._fd)
        try:
            known = os.fstat(fd)
            if not stat.S_ISREG(known.st_mode):
                raise OSError(f"{self.path / log} is not a file")
            if stat.S_IMODE(known.st_mode) != 0o600:
                os.fchmod(fd, 0o600)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def open_to_read(self, log: str) -> IO[bytes] | None:
        """Open the file that is written; None: there is none."""
        return self._open(log)

    def open_rotated(self, log: str, number: int) -> IO[bytes] | None:
        """Open a rotated file, compressed or not; None: it was removed."""
        for _ in range(2):  # It may be compressed between the listing and the opening.
            for file in self.rotated(log):
                if file.number == number and (opened := self._open(file.name)) is not None:
                    return opened
        return None

    def _open(self, name: str) -> IO[bytes] | None:
        try:
            fd = os.open(name, os.O_RDONLY | _OURS, dir_fd=self._fd)
        except FileNotFoundError:
            return None
        file: IO[bytes] = open(fd, "rb", buffering=0)  # noqa: SIM115
        return cast("IO[bytes]", _Unpacked(file)) if name.endswith(".gz") else file

    def files(self) -> list[LogFile]:
        """All log files."""
        while True:
            with contextlib.suppress(FileNotFoundError):  # one was just compressed: look again
                return [file for name in self._names() if (file := self._look_at(name))]

    def _names(self) -> list[str]:
        # Not of the descriptor itself: two threads that list it would share its position.
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def _look_at(self, name: str) -> LogFile | None:
        match = _ROTATED.fullmatch(name)
        if match is None and not name.endswith(".log"):
            return None
        known = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        if match is None:
            return LogFile(name, name, 0, False, known.st_size, known.st_mtime)
        number, packed = int(match["number"]), match["packed"] is not None
        return LogFile(name, match["log"], number, packed, known.st_size, known.st_mtime)

    def rotated(self, log: str) -> list[LogFile]:
        """The rotated files of a log, the oldest first; each once."""
        by_number: dict[int, LogFile] = {}
        for file in self.files():
            if file.number and file.log == log and (file.packed or file.number not in by_number):
                by_number[file.number] = file
        return sorted(by_number.values(), key=lambda file: file.number)

    def rotate(self, log: str, number: int) -> str:
        """Give the file that is written its name as a rotated file, which is returned.

        Raises:
            OSError: as it comes.
        """
        at = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        name = f"{log}.{at}-{number:06}"
        os.rename(log, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        return name

    def pack(self, name: str, stopped: Callable[[], bool]) -> None:
        """Compress a rotated file; without effect if it is not there.

        Args:
            stopped: whether to give up.

        Raises:
            OSError: as it comes, `InterruptedError` when it gave up; the file is as before.
        """
        beside = f"{name}.gz.tmp"
        source = self._open(name)
        if source is None:
            return
        with source:
            known = os.fstat(source.fileno())
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _OURS
            fd = os.open(beside, flags, 0o600, dir_fd=self._fd)
            try:
                with open(fd, "wb") as file:
                    with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
                        while block := source.read(_BLOCK):
                            if stopped():
                                raise InterruptedError(f"{name} is compressed later")
                            packed.write(block)
                    file.flush()
                    os.fsync(fd)
                    os.fchmod(fd, 0o600)
                    os.utime(fd, ns=(known.st_atime_ns, known.st_mtime_ns))
                os.rename(beside, f"{name}.gz", src_dir_fd=self._fd, dst_dir_fd=self._fd)
            except BaseException:
                self.remove(beside)
                raise
        self.remove(name)

    def clean(self) -> list[str]:
        """Remove what a kill has left over; returns the rotated files to compress."""
        for name in self._names():
            if name.endswith(".gz.tmp"):
                self.remove(name)
        files = {file.name: file for file in self.files() if file.number}
        unpacked = [name for name, file in files.items() if not file.packed]
        for name in unpacked:
            if f"{name}.gz" in files:
                self.remove(name)
        return sorted(name for name in unpacked if f"{name}.gz" not in files)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def close(self) -> None:
        """Close the folder."""
        os.close(self._fd)


class _Unpacked(gzip.GzipFile):
    """Reads a compressed file, and closes it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._packed = file
        super().__init__(fileobj=file, mode="rb")

    def close(self) -> None:
        super().close()
        self._packed.close()
