"""The lock that admits one writer to a file; it names its holder, and ends with it.

It is a separate file beside the database, because closing any descriptor of a database file would
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

from procorch.api.storage.kind import FileKind


class Lock:
    """Held from the beginning until `release`, or until the process has ended.

    Args:
        file: the file that it is for.

    Raises:
        Exception: ``kind.busy``: another process holds it; the text says which. ``kind.error``: the
            folder cannot be written, or the file is not a lock of procorch.
    """

    def __init__(self, file: Path, kind: FileKind) -> None:
        self._kind = kind
        if file.is_dir():
            raise kind.error(f"{file} cannot be written: it is a folder")
        self._path = file.with_name(file.name + ".lock")
        self._fd = self._acquire(file)
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
            raise self._refusal(file, error) from error

    def _acquire(self, file: Path) -> int:
        while True:
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(self._path, flags, 0o600)
            except FileNotFoundError:
                raise self._kind.error(
                    f"{file} cannot be written: there is no folder {file.parent}"
                ) from None
            except OSError as error:
                raise self._refusal(file, error) from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is(fd):
                    self._must_be_a_lock(fd)
                    return fd
            except BlockingIOError:
                text = _read(fd)
                os.close(fd)
                raise self._kind.busy(f"{file} is being written by {text}") from None
            except OSError as error:  # a file system that has no locks
                os.close(fd)
                raise self._refusal(file, error) from error
            # The last holder has removed the file meanwhile, so this lock protects nothing.
            os.close(fd)

    def _refusal(self, file: Path, error: OSError) -> Exception:
        return self._kind.error(
            f"{file} cannot be written: {error.strerror} (its lock, {self._path})"
        )

    def _must_be_a_lock(self, fd: int) -> None:
        """The lock of a file ``poetry`` must not overwrite another tool's ``poetry.lock``."""
        text = os.pread(fd, 4096, 0)
        if text and _holder(text) is None:
            os.close(fd)
            raise self._kind.error(
                f"{self._path} is there already, and is not {self._kind.lock}: name another "
                f"{self._kind.other}, or remove it"
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


def holder(file: Path) -> str | None:
    """The process that writes a file at the moment; None: there is none."""
    try:
        fd = os.open(
            file.with_name(file.name + ".lock"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
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
