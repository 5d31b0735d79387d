"""One duplex socket that carries frames.

The parent's end never blocks: what the socket does not take now waits in `Channel` until the
socket is writable again. The worker's end blocks: it has nothing else to do.

End of file is a hint and no more (architecture, rule 8): a grandchild may hold the socket open
after the worker's death, and a worker may close it and live on.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from collections.abc import Iterator, Sequence

from procorch.errors import ProtocolError
from procorch.wire.frame import Buffer, Decoder, Frame, Kind, gather

_MAX_BUFFERS = 512
"""Buffers for one ``sendmsg``: below IOV_MAX (1024) everywhere."""


class Channel:
    """Frames over a connected stream socket.

    Args:
        sock: the socket, blocking or not; the channel owns it.
        max_frame: the largest frame accepted, in bytes.
    """

    def __init__(self, sock: socket.socket, max_frame: int) -> None:
        self._sock = sock
        self._decoder = Decoder(max_frame)
        self._out: deque[memoryview] = deque()
        self._in: deque[Frame] = deque()
        self.eof = False

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def stop_reading(self) -> None:
        """End of file from now on, also for a thread that waits for something to read."""
        with contextlib.suppress(OSError):  # the peer is gone: there is nothing to read anyway
            self._sock.shutdown(socket.SHUT_RD)

    @property
    def unsent(self) -> bool:
        """Whether frames wait for the socket to become writable."""
        return bool(self._out)

    def send(
        self, kind: Kind, generation: int, request: int, head: bytes, body: Sequence[Buffer]
    ) -> None:
        """Send one frame, or what of it the socket takes (a blocking socket takes all of it).

        Raises:
            OSError: the peer is gone.
        """
        buffers = gather(kind, generation, request, head, body)
        if len(buffers) == 1 and not self._out:
            # The common case: a small message, an idle socket.
            data = buffers[0]
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                sent = 0
            if sent == len(data):
                return
            self._out.append(memoryview(data)[sent:])
        else:
            self._out.extend(memoryview(part) for part in buffers if len(part))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        out = self._out
        while out:
            buffers = [out[i] for i in range(min(len(out), _MAX_BUFFERS))]
            try:
                sent = self._sock.sendmsg(buffers)
            except BlockingIOError:
                return
            while sent and sent >= out[0].nbytes:
                sent -= out.popleft().nbytes
            if sent:
                out[0] = out[0][sent:]

    def receive(self) -> list[Frame]:
        """The frames that one read completes; empty when there is nothing to read.

        Sets `eof` when the peer has closed its end or reset it.

        Raises:
            ProtocolError: the bytes are no frames.
        """
        count = self._read()
        return self._decoder.wrote(count) if count else []

    @property
    def has_frame(self) -> bool:
        """Whether `receive_one` has a frame without reading."""
        return bool(self._in)

    @property
    def fault(self) -> ProtocolError | None:
        """Why nothing that follows can be read; what came before it has been returned."""
        return self._decoder.error

    def receive_one(self) -> Frame | None:
        """The next frame of a blocking socket; None at its end."""
        while not self._in and not self.eof:
            self._in.extend(self.receive())
        return self._in.popleft() if self._in else None

    def is_cut_off(self) -> bool:
        """Whether the peer has closed its end, as far as that is known without reading."""
        poll = select.poll()
        poll.register(self._sock, 0)
        return bool(poll.poll(0))

    def drain(self) -> Iterator[Frame]:
        """All frames that can be read without waiting (a non-blocking socket)."""
        while count := self._read():
            yield from self._decoder.wrote(count)

    def _read(self) -> int:
        """Bytes read into the decoder; 0 when there are none now, or never again (`eof`)."""
        try:
            count = self._sock.recv_into(self._decoder.writable())
        except BlockingIOError:
            return 0
        except ConnectionError:
            count = 0
        if count == 0:
            self.eof = True
        return count

    def close(self) -> None:
        """Close the socket; what was not sent is dropped."""
        self._out.clear()
        self._sock.close()
