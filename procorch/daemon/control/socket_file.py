"""The file of the control socket: made for its owner alone, found by clients, paths of any length.

The address of a Unix socket holds 107 bytes. A longer path is reached through a descriptor of its
folder. The mode of the file is set on the socket before it has a name, so there is no moment at
which others could connect, whatever the umask is; the folder keeps them out as well.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from procorch.daemon.errors import AccessRefused, DaemonError, DaemonUnresponsive, NoDaemon

_ADDRESS = 107
_MODE = 0o600
_WAITING = 128
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
RETRY = 0.02
"""Seconds between attempts while the daemon accepts nothing."""


class ListeningSocket:
    """The socket of a daemon; the caller holds the lock of the folder.

    A socket that a killed daemon has left is replaced.

    Args:
        path: where to make it, in a folder that nobody else can enter.

    Raises:
        DaemonError: the folder is not safe, or something else is at the path.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _must_be_private(path.parent)
        _remove_left_over(path)
        self.socket: socket.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(self.socket.fileno(), _MODE)
            with _address(path) as address:
                self.socket.bind(address)
            if stat.S_IMODE(path.lstat().st_mode) != _MODE:  # the umask takes from the owner
                path.chmod(_MODE)
            self._identity = _identity(path)
            self.socket.listen(_WAITING)
        except BaseException:
            self.socket.close()
            raise

    def remove(self) -> None:
        """Remove the file, unless it is that of another socket by now."""
        with contextlib.suppress(FileNotFoundError):
            if _identity(self._path) == self._identity:
                self._path.unlink()


def connect(folder: Path, path: Path, timeout: float) -> socket.socket:
    """A connection to the daemon of a folder.

    Args:
        folder: for texts of errors.
        path: its socket.
        timeout: seconds to wait for a place in its queue.

    Raises:
        NoDaemon: nobody listens there.
        DaemonUnresponsive: there was no place in time.
        AccessRefused: the socket is that of another user.
    """
    deadline = time.monotonic() + timeout
    while (connected := try_to_connect(folder, path)) is None:
        if time.monotonic() >= deadline:
            raise not_accepted(folder, timeout)
        time.sleep(RETRY)
    return connected


def try_to_connect(folder: Path, path: Path) -> socket.socket | None:
    """See `connect`; None: the queue of the daemon is full at the moment."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # a full queue is said at once
        with _address(path) as address:
            sock.connect(address)
        _, uid = peer_of(sock)
        if uid not in (os.geteuid(), 0) and os.geteuid() != 0:
            raise AccessRefused(f"the socket {path} belongs to another user (uid {uid})")
        return sock
    except BlockingIOError:
        sock.close()
        return None
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        sock.close()
        raise no_daemon(folder) from None
    except PermissionError:
        sock.close()
        raise AccessRefused(f"the daemon in {folder} belongs to another user") from None
    except BaseException:
        sock.close()
        raise


def no_daemon(folder: Path) -> NoDaemon:
    """There is no daemon in the folder."""
    return NoDaemon(f"no daemon runs in {folder}; `procorch up` starts one")


def not_accepted(folder: Path, timeout: float) -> DaemonUnresponsive:
    """The daemon did not accept a connection."""
    return DaemonUnresponsive(f"the daemon in {folder} took no connection within {timeout:g} s")


def peer_of(sock: socket.socket) -> tuple[int, int]:
    """Process id and user id at the other end, as the kernel knows them."""
    said = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(said)
    return pid, uid


def _must_be_private(folder: Path) -> None:
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise DaemonError(f"{folder} belongs to another user (uid {found.st_uid})")
    if stat.S_IMODE(found.st_mode) & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise DaemonError(f"others can enter {folder} (mode {mode:04o}): chmod 700 {folder}")


def _remove_left_over(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise DaemonError(f"{path} is there already, and is no socket: remove it")
        path.unlink()


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path, in a form that an address can hold."""
    if len(os.fsencode(path)) <= _ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
