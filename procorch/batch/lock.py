"""The lock that admits one writer to a journal; it names its holder, and ends with it.

It is a separate file beside the journal, because closing any descriptor of a database file would
release the locks that SQLite holds on it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path

import msgspec

from procorch.batch.errors import JournalBusy, JournalError


class Lock:
    """Held from the beginning until `release`, or until the process has ended.

    Raises:
        JournalBusy: another process holds it; the text says which.
        JournalError: the folder cannot be written, or the file is not a lock of procorch.
    """

    def __init__(self, journal: Path) -> None:
        if journal.is_dir():
            raise JournalError(f"{journal} cannot be written: it is a folder")
        self._path = journal.with_name(journal.name + ".lock")
        self._fd = self._acquire(journal)
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        try:
            os.ftruncate(self._fd, 0)
            os.write(self._fd, msgspec.json.encode(holder))
        except OSError as error:  # a full disk
            self.release()
            raise self._refusal(journal, error) from error

    def _acquire(self, journal: Path) -> int:
        while True:
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(self._path, flags, 0o600)
            except FileNotFoundError:
                raise JournalError(
                    f"{journal} cannot be written: there is no folder {journal.parent}"
                ) from None
            except OSError as error:
                raise self._refusal(journal, error) from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is(fd):
                    self._must_be_a_lock(fd)
                    return fd
            except BlockingIOError:
                text = _read(fd)
                os.close(fd)
                raise JournalBusy(f"{journal} is being written by {text}") from None
            except OSError as error:  # a file system that has no locks
                os.close(fd)
                raise self._refusal(journal, error) from error
            # The last holder has removed the file meanwhile, so this lock protects nothing.
            os.close(fd)

    def _refusal(self, journal: Path, error: OSError) -> JournalError:
        return JournalError(
            f"{journal} cannot be written: {error.strerror} (its lock, {self._path})"
        )

    def _must_be_a_lock(self, fd: int) -> None:
        """The lock of a journal ``poetry`` must not overwrite another tool's ``poetry.lock``."""
        text = os.pread(fd, 4096, 0)
        if text and _holder(text) is None:
            os.close(fd)
            raise JournalError(
                f"{self._path} is there already, and is not the lock of a batch: name another "
                "journal, or remove it"
            )

    def _is(self, fd: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(fd), os.stat(self._path, follow_symlinks=False))
        return False

    def release(self) -> None:
        """Release the lock; its file is removed, unless it has been replaced."""
        if self._is(self._fd):
            self._path.unlink()
        os.close(self._fd)


def holder(journal: Path) -> str | None:
    """The process that writes a journal at the moment; None: there is none."""
    try:
        fd = os.open(
            journal.with_name(journal.name + ".lock"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        )
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _read(fd)
    finally:
        os.close(fd)


def _read(fd: int) -> str:
    return _holder(os.pread(fd, 4096, 0)) or "another process, which is just beginning"


def _holder(text: bytes) -> str | None:
    try:
        holder = msgspec.json.decode(text, type=dict[str, str | int])
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        return None
