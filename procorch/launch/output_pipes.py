"""The parent's ends of a worker's standard output and error.

Each stream has a pipe, because programs expect one there: a socket cannot be opened as
``/dev/stdout``, and a datagram socket refuses long writes. Two pipes keep the streams apart.

* *The monitor never delays a worker.* It reads whenever there is data, a limited piece at a time,
  so that a worker that floods its pipe does not delay the others.
* *No output written before a death is lost.* When the worker is dead, all of it is in the pipe. The
  monitor asks the kernel how much that is, and reads exactly that much. It does not wait for the
  end of file: a grandchild may hold the pipe and go on writing.
* *No output written before a reply is late.* The monitor reads the pipes in the same way before it
  passes a reply on.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import termios
from collections.abc import Callable

from procorch.launch.base import Watcher

PIECE = 65536
"""Bytes read at a time: the default capacity of a pipe."""


def standard_output() -> int:
    """A descriptor of this process's standard output for a worker; ``/dev/null`` if it has none.

    A descriptor 1 that child processes do not inherit is not standard output: that was closed, and
    another file has got the number.
    """
    try:
        if os.get_inheritable(1):
            return os.dup(1)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
    return os.open(os.devnull, os.O_WRONLY)


class OutputPipe:
    """Reads one stream of one worker.

    Args:
        fd: the pipe, owned by this object.
        take: called with the data; returns the seconds to pause before the next read. After a
            pause it is called again with ``b""``.
    """

    def __init__(self, fd: int, loop: Watcher, take: Callable[[bytes], float]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._loop = loop
        self._take = take
        self._waiting = bytearray(4)
        self._paused = False
        loop.watch(fd, self._readable)

    def _readable(self) -> None:
        self._read(PIECE)

    def _read(self, most: int) -> int:
        """Read once; returns the number of bytes, 0 if there are none now or at the end."""
        try:
            data = os.read(self._fd, most)
        except BlockingIOError:
            return 0
        if not data:
            self.close()  # No process can write to it any more.
            return 0
        pause = self._take(data)
        if pause and not self._paused:
            self._paused = True
            self._loop.unwatch(self._fd)
            self._loop.call_later(pause, self._resume)
        return len(data)

    def _resume(self) -> None:
        if not self._paused:  # closed meanwhile
            return
        pause = self._take(b"")
        if pause:
            self._loop.call_later(pause, self._resume)
        else:
            self._paused = False
            self._loop.watch(self._fd, self._readable)

    def read_available(self) -> None:
        """Read what the pipe holds now, and not what is written meanwhile."""
        if self._fd < 0:
            return
        fcntl.ioctl(self._fd, termios.FIONREAD, self._waiting, True)
        left = int.from_bytes(self._waiting, "little")
        while left and (count := self._read(left)):
            left -= count

    def close(self) -> None:
        """Stop reading; idempotent."""
        if self._fd >= 0:
            self._paused = False
            self._loop.unwatch(self._fd)
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1
