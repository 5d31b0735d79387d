"""Who is the daemon of a folder: the process that holds the lock of its file.

The kernel releases the lock when the process ends, however it ends. So a file that is left behind
means nothing, and no process id is ever trusted. The file says who holds the lock, for people.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from procorch.daemon.errors import DaemonBusy, FolderError

LOCK = "lock"


def make_folder(folder: Path) -> None:
    """Make the folder of the daemon, for its user alone.

    Raises:
        FolderError: it cannot be made, or belongs to somebody else.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(folder)
    except FileExistsError:
        raise FolderError(f"{folder} must be a folder, and no file") from None
    except OSError as error:
        raise FolderError(f"cannot make the folder {folder}: {error.strerror}") from None
    if not os.path.isdir(folder) or os.path.islink(folder):
        raise FolderError(f"{folder} must be a folder, and no link")
    if found.st_uid != os.geteuid():
        raise FolderError(f"{folder} belongs to another user (uid {found.st_uid})")
    if found.st_mode & 0o002:
        raise FolderError(f"others can write to {folder}: run chmod 700 {folder}")
    if found.st_mode & 0o077:  # as after a mount that gives everything to a group
        os.chmod(folder, 0o700)


class Lock:
    """The lock of a daemon's folder, held until it is released or the process ends.

    Args:
        folder: the folder of the daemon, which exists.
        about: what others are told of the holder.

    Raises:
        DaemonBusy: another process holds it; the text names it and its configuration.
        FolderError: the file cannot be opened.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        path = folder / LOCK
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise FolderError(f"cannot open {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(self._fd)
            os.close(self._fd)
            raise DaemonBusy(
                f"a daemon runs in {folder} already: pid {holder.get('pid', 'unknown')}, "
                f"configuration {holder.get('config', 'unknown')}"
            ) from None
        except OSError as error:
            os.close(self._fd)
            raise FolderError(f"cannot lock {path}: {error.strerror}") from None
        os.fchmod(self._fd, 0o600)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(about).encode(), 0)

    def release(self) -> None:
        """Let another process be the daemon."""
        os.close(self._fd)


def is_held(folder: Path) -> bool:
    """Whether a daemon runs in a folder."""
    try:
        fd = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _read(fd: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(fd, 4096, 0))
    except ValueError:  # it is being written
        return {}
    return found if isinstance(found, dict) else {}
