"""The parent's ends of a worker's standard output and error.

Pipes, one a stream: a pipe is what programs expect there (a socket cannot be opened as
``/dev/stdout``, a datagram one refuses long writes), and two keep the streams apart whatever
writes.

* *A worker is never held up by us.* The monitor reads whenever there is something, a bounded piece
  at a time, so that one worker that floods its pipe has no more than its turn.
* *Nothing written before a death is lost.* When the worker is dead all it wrote is in the pipe: the
  kernel is asked how much that is, and exactly that much is read. The end of file is not waited
  for: a grandchild may hold the pipe, and even go on writing.
* *The same before a reply is handed on*: whoever has the answer finds what was written before it.
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
"""Bytes read in one turn: what a pipe holds by default."""


def standard_output() -> int:
    """A descriptor of this process's standard output for a worker; nowhere if there is none.

    One that no child of ours would inherit is none: the number was free, and something else has it.
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
        take: gets what is read; its answer is the seconds to pause before more is read. After a
            pause it gets nothing (``b""``) and is asked again.
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
        """Read once; 0 when there is nothing, now or ever."""
        try:
            data = os.read(self._fd, most)
        except BlockingIOError:
            return 0
        if not data:
            self.close()  # Nobody can write any more.
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
        """Read what the pipe holds at this moment, and not what is written meanwhile."""
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
