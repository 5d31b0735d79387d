"""The socket between the parent and its bridge: messages about workers, each with a payload."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from procorch.errors import ProtocolError
from procorch.launch.base import Watcher
from procorch.launch.ray.messages import encode
from procorch.wire.frame import Kind
from procorch.wire.parent_channel import ParentChannel
from procorch.wire.payload import Content, Parts

_MOST = 1 << 40
"""Bytes of the largest message, practically none: both ends belong to one program."""


class Link:
    """One end; it never blocks.

    Args:
        sock: the socket, owned by this object.
        take: called with the number of a worker (0: the bridge itself), a message and its body.
        ended: called once, when the other end has closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: Watcher,
        take: Callable[[int, bytes, Content], None],
        ended: Callable[[], None],
    ) -> None:
        sock.setblocking(True)  # as `ParentChannel` wants it
        self._channel = ParentChannel(sock, _MOST)
        self._fd = sock.fileno()
        self._loop = loop
        self._take = take
        self._ended = ended
        self._open = True
        loop.watch(self._fd, self._readable)

    def send(self, worker: int, message: Any, body: Parts = ()) -> None:
        """Send a message, which may be encoded already. If the other end has closed, it is lost."""
        if not self._open:
            return
        head = message if isinstance(message, bytes) else encode(message)
        with contextlib.suppress(OSError):  # the end of file follows
            self._channel.send(Kind.CLUSTER, 0, worker, head, body)
            if self._channel.unsent:
                self._loop.watch_writable(self._fd, self._writable)

    def _writable(self) -> None:
        with contextlib.suppress(OSError):
            self._channel.flush()
            if self._channel.unsent:
                return
        if self._open:
            self._loop.unwatch_writable(self._fd)

    def _readable(self) -> None:
        try:
            for frame in self._channel.receive():
                self._take(frame.request, frame.head, frame.body)
        except ProtocolError:
            self._channel.eof = True
        if self._open and (self._channel.eof or self._channel.fault is not None):
            self.close()
            self._ended()

    def read_rest(self) -> None:
        """The other end has exited: take what it has sent."""
        if self._open:
            with contextlib.suppress(ProtocolError):  # it was in the middle of a message
                for frame in self._channel.drain():
                    self._take(frame.request, frame.head, frame.body)

    def close(self) -> None:
        """Close this end; idempotent."""
        if self._open:
            self._open = False
            self._loop.unwatch(self._fd)
            self._channel.close()
