"""Files that a command writes: never a file that it reads, and never half a file.

A file is written under a temporary name and renamed when it is complete. So after an error, on a
full disk or after a kill the old file is still there. What cannot be replaced by renaming (``-``,
``/dev/stdout``, a pipe, a device) is written directly.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from procorch.batch.errors import BatchError

COMPANIONS = ("-wal", "-shm", "-journal", ".lock")
"""Suffixes of the files that SQLite and the runner keep beside a journal."""

STDOUT = Path("-")
"""Means standard output."""

_DESCRIPTOR = re.compile(r"(?:/dev/fd|/proc/(?:self|thread-self|([0-9]+))/fd)/([0-9]+)")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors that are caused by the disk, and not by the path."""
_NO_NEW_FILE = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_RENAME = (errno.EBUSY, errno.EXDEV)


class OutputRefused(BatchError):
    """A path may not be written, because it is read or is a folder; the text names it."""


def with_companions(journal: Path) -> list[Path]:
    """A journal and the files that belong to it, whether they exist or not."""
    return [journal, *(journal.with_name(journal.name + each) for each in COMPANIONS)]


def refuse(out: Path, read: Iterable[Path], *, stdout: int = 1) -> None:
    """Make sure that writing ``out`` overwrites no file that is read.

    Args:
        read: the files that are read; they need not exist.
        stdout: the descriptor of standard output.

    Raises:
        OutputRefused: ``out`` is one of them, under any name or link, or it is a folder.
    """
    if out.is_dir():
        raise OutputRefused(f"{out} cannot be written: it is a folder")
    number = _descriptor(out, stdout)
    for each in read:
        if _is_same(out if number is None else number, each):
            what = "standard output" if out == STDOUT else str(out)
            raise OutputRefused(
                f"{what} cannot be written: it is the same file as {each}, which is read"
            )


@contextlib.contextmanager
def replacing(out: Path, *, mode: int = 0o666, stdout: int = 1) -> Iterator[IO[bytes]]:
    """A file that replaces ``out`` when the block is left without an error.

    A link stays a link, and an existing file keeps its mode and its owner.

    Args:
        mode: of a new file, before the umask.
        stdout: the descriptor of standard output, which whoever calls has flushed.

    Raises:
        OSError: it cannot be written; an existing file is unchanged.
    """
    number = _descriptor(out, stdout)
    if number is not None:
        with os.fdopen(os.dup(number), "wb") as file:
            yield file
        return
    place = Path(os.path.realpath(out))
    there = _status(place)
    if there is not None and not stat.S_ISREG(there.st_mode):
        with open(place, "wb") as file:
            yield file
        return
    if there is not None and not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(out))
    beside = place.with_name(f".{place.name[:100]}.{os.urandom(4).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        opened = os.open(beside, flags, mode)
    except OSError as error:
        if there is None or error.errno not in _NO_NEW_FILE:
            raise
        # The file may be written, but not the folder.
        with open(place, "wb") as file:
            yield file
        return
    try:
        with os.fdopen(opened, "wb") as file:
            if there is not None:
                _take_after(opened, there)
            yield file
            file.flush()
            os.fsync(opened)
        _rename(beside, place)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _rename(beside: Path, place: Path) -> None:
    try:
        os.replace(beside, place)
    except OSError as error:  # the file is a mount point, as in a container
        if error.errno not in _NO_RENAME:
            raise
        import shutil

        shutil.copyfile(beside, place)
        beside.unlink()


def _take_after(opened: int, there: os.stat_result) -> None:
    mine = os.fstat(opened)
    if (mine.st_uid, mine.st_gid) != (there.st_uid, there.st_gid):
        with contextlib.suppress(PermissionError):  # then it belongs to this user
            os.fchown(opened, there.st_uid, there.st_gid)
    os.fchmod(opened, stat.S_IMODE(there.st_mode))


def _is_same(out: Path | int, other: Path) -> bool:
    mine, its = _status(out), _status(other)
    if mine is not None and its is not None:
        return os.path.samestat(mine, its)
    if isinstance(out, int):
        return False
    return os.path.realpath(out) == os.path.realpath(other)


def _status(path: Path | int) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _descriptor(path: Path, stdout: int) -> int | None:
    """The descriptor of this process that a path refers to; None: it refers to a file."""
    if path == STDOUT:
        return stdout
    name = os.path.abspath(path)
    for _ in range(40):  # as many links as Linux follows
        found = _DESCRIPTOR.fullmatch(name)
        if found:
            if found[1] not in (None, str(os.getpid())):
                return None  # of another process
            return stdout if found[2] == "1" else int(found[2])
        if not os.path.islink(name):
            return None
        name = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(name)))
    return None
