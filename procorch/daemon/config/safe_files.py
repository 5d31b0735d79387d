"""Reads the files that a user names: the configuration, environment files and secrets.

Such a file may be a link. It must belong to the user or to root, and nobody else may write to it:
who can write to it decides what the daemon runs. The same holds for the folders above it, in which
it could be replaced; but not for one like /tmp, where only owners remove files. A file that changes
while it is read is read again.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import time
from pathlib import Path

from procorch.daemon.errors import FileRefused

TRIES = 4
_PAUSE = 0.05
"""Seconds before a file that has changed is read again."""


def located(folder: Path, text: str) -> Path:
    """The file that a configuration names: relative to ``folder``; ``~/`` is the user's folder."""
    return Path(os.path.abspath(folder / os.path.expanduser(text)))


def read(path: Path, most: int) -> bytes:
    """The content of a file.

    Args:
        most: bytes that it may have.

    Raises:
        FileRefused: it cannot be read, is too large or no regular file, changes all the time, or
            others may write to it.
    """
    for number in range(TRIES):
        if number:
            time.sleep(_PAUSE)
        data = _read_once(path, most)
        if data is not None:
            _check_folders(path)
            return data
    raise FileRefused("it changes while it is read: write it to another file, and rename that one")


def must_be_safe(path: Path) -> None:
    """Refuse a file that others could change or replace, without reading it.

    Raises:
        FileRefused: the user has to change its rights, or those of a folder above it.
    """
    try:
        _check_rights(path, path.stat())
    except OSError as error:
        raise FileRefused(_why(path, error)) from None
    _check_folders(path)


def _read_once(path: Path, most: int) -> bytes | None:
    """Its content; None: it has changed meanwhile."""
    try:
        # Opening a FIFO must not wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise FileRefused(_why(path, error)) from None
    try:
        before = os.fstat(fd)
        _check(path, before, most)
        chunks = []
        while chunk := os.read(fd, most + 1):
            chunks.append(chunk)
            if sum(map(len, chunks)) > most:
                raise FileRefused(_too_large(most))
        after, data = os.fstat(fd), b"".join(chunks)
    except OSError as error:
        raise FileRefused(_why(path, error)) from None
    finally:
        os.close(fd)
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return data if same and len(data) == after.st_size else None


def _check(path: Path, found: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise FileRefused(f"it is {what}")
    if found.st_size > most:
        raise FileRefused(_too_large(most))
    _check_rights(path, found)


def _check_rights(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in (os.geteuid(), 0):
        raise FileRefused(
            f"it belongs to another user ({_user(found.st_uid)}), who could change what the daemon "
            f"runs: chown {os.geteuid()} {path}"
        )
    others = bool(found.st_mode & stat.S_IWOTH)
    group = bool(found.st_mode & stat.S_IWGRP) and not _is_private(found.st_gid)
    if others or group:
        raise FileRefused(f"others may write to it: chmod {'go' if group else 'o'}-w {path}")


def _check_folders(path: Path) -> None:
    """Refuse a file if others could replace it, or a link on the way to it."""
    for folder in {*path.absolute().parents, *Path(os.path.realpath(path)).parents}:
        found = folder.stat()
        if found.st_uid not in (os.geteuid(), 0):
            raise FileRefused(
                f"the folder {folder} belongs to another user ({_user(found.st_uid)}), who could "
                f"replace what is in it: chown {os.geteuid()} {folder}"
            )
        others = bool(found.st_mode & stat.S_IWOTH)
        group = bool(found.st_mode & stat.S_IWGRP) and not _is_private(found.st_gid)
        if (others or group) and not found.st_mode & stat.S_ISVTX:
            mode = f"{'go' if group else 'o'}-w"
            raise FileRefused(
                f"others may write to the folder {folder}, and so replace what is in it: "
                f"chmod {mode} {folder}"
            )


def _is_private(gid: int) -> bool:
    """Whether a group is that of this user alone."""
    if gid != os.getgid():
        return False
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
        group = grp.getgrgid(gid)
    except KeyError:  # a user without an entry, as in containers
        return False
    # A user whose first group it is need not be listed as a member.
    members = {*group.gr_mem, *(each.pw_name for each in pwd.getpwall() if each.pw_gid == gid)}
    return members <= {user} and (group.gr_name == user or user in group.gr_mem)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _too_large(most: int) -> str:
    return f"it is larger than {most >> 10} KiB"


def _why(path: Path, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no file {str(path)!r}"
    if isinstance(error, PermissionError):
        return "it cannot be read: permission denied"
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return f"it cannot be read: {reason}"
