"""The parent's end of a channel: it never blocks, but for a thread that moves a large frame.

The socket itself is a blocking one, so that a thread that has nothing else to do can move the bulk
of a large frame in one system call (`write_bulk`, `read_bulk`). Meanwhile nobody else writes: the
channel is `writing`. And nobody else reads: the user of the channel does not call `receive`.
"""

from __future__ import annotations

import contextlib
import socket

from procorch.wire.channel import Channel

BULK = 1 << 20
"""Bytes from which data is worth a thread."""

_ALL = int(socket.MSG_WAITALL)


class ParentChannel(Channel):
    """See `Channel`."""

    _flags = int(socket.MSG_DONTWAIT)
    writing: bool

    def __init__(self, sock: socket.socket, max_frame: int) -> None:
        super().__init__(sock, max_frame)
        self._bulk: list[memoryview] = []

    def take_bulk(self) -> bool:
        """Take the data that waits for the socket, if it is much: `write_bulk` has to be called."""
        if not self.unsent or self.writing or self.held:
            return False
        buffers = self._next_buffers()
        if sum(map(len, buffers)) < BULK:
            return False
        self._bulk, self.writing = buffers, True
        for _ in buffers:
            self.unsent.popleft()
        return True

    def return_bulk(self) -> None:
        """Undo `take_bulk`."""
        self.unsent.extendleft(reversed(self._bulk))
        self._bulk, self.writing = [], False

    def write_bulk(self) -> None:
        """Write that data, waiting for the peer; on any thread. Afterwards call `written`.

        If the peer has ended, the data is dropped: its end is found out otherwise.
        """
        buffers, self._bulk = self._bulk, []
        with contextlib.suppress(OSError):
            while buffers:
                sent = self._sock.sendmsg(buffers)
                while buffers and sent >= len(buffers[0]):
                    sent -= len(buffers.pop(0))
                if buffers:
                    buffers[0] = buffers[0][sent:]

    def written(self) -> None:
        """`write_bulk` has ended: send what was handed in meanwhile.

        Raises:
            OSError: the peer is gone.
        """
        self.writing = False
        self.flush()

    @property
    def is_reading_bulk(self) -> bool:
        """Whether much of a frame has still to come: `read_bulk` may be called."""
        return self._decoder.missing > BULK

    def read_bulk(self) -> None:
        """Read a large frame but for its last byte, waiting for the peer; on any thread.

        The rest is for `receive`, and so is what this thread cannot read for any reason.
        """
        with contextlib.suppress(OSError):
            while (most := self._decoder.missing - 1) > 0:
                count = self._take(self._decoder.writable()[:most], _ALL)
                if not count:
                    return
                self._decoder.filled(count)

    def stop(self, direction: int) -> None:
        """End `read_bulk` (``socket.SHUT_RD``) or `write_bulk` (``SHUT_WR``) of another thread."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(direction)
