"""A duplex socket that carries frames.

The parent's end (`parent_channel`) never blocks: data that the socket does not accept waits in
`Channel` until the socket is writable again. The worker's end blocks.

A body that comes apart (`payload`) travels as a descriptor beside the first byte of its frame.
Descriptors arrive in the order of their frames, and not later than the end of their frame. So the
n-th descriptor belongs to the n-th such frame. A descriptor without a frame is a fault of the peer.
If this process has no number left for a descriptor, only the body of that frame is lost.

The end of file is only a hint (docs/explanation/guarantees.md): a grandchild may hold the socket
open after the worker's death, and a worker may close it and live on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from array import array
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from procorch.errors import ProtocolError
from procorch.wire import payload
from procorch.wire.frame import HEADER_SIZE, Decoder, Frame, Kind, announce, gather
from procorch.wire.payload import Buffer, Content, Lease, Parts

_MAX_BUFFERS = 512
"""The most buffers for one ``sendmsg``, below IOV_MAX (1024)."""

_ONE = socket.CMSG_LEN(array("i").itemsize)
"""Room for one descriptor; the system closes further ones that a peer sends."""

# Plain numbers: an operation on the enumeration takes longer than a read.
_CLOSED_ON_EXEC, _CUT = int(socket.MSG_CMSG_CLOEXEC), int(socket.MSG_CTRUNC)

_NONE_LEFT = -1
"""Stands for a descriptor for which this process had no number left."""

_NO_PASSAGE = (errno.ETOOMANYREFS, errno.ENOMEM, errno.ENOBUFS)


class _Apart(NamedTuple):
    """A frame to be sent whose body goes as a descriptor."""

    kind: Kind
    generation: int
    request: int
    head: bytes
    lease: Lease


class Channel:
    """Frames over a connected stream socket.

    Args:
        sock: the socket; the channel owns it.
        max_frame: the largest frame accepted, in bytes.

    Attributes:
        eof: the peer has closed its end; nothing more will come.
        held: frames are kept and not sent, see `hold`.
        unsent: the data that waits for the socket to become writable.
        writing: another thread writes (`ParentChannel`), and everything else waits for its end.
        fault: why nothing can be read any more; all frames before it were returned.
    """

    _flags = 0
    """Of each call that sends or receives."""

    def __init__(self, sock: socket.socket, max_frame: int) -> None:
        self._sock = sock
        self._decoder = Decoder(max_frame)
        self.unsent: deque[memoryview | _Apart] = deque()
        self._in: deque[Frame] = deque()
        self._descriptors: deque[int] = deque()
        self.fault: ProtocolError | None = None
        self.eof: bool = False
        self.held: bool = False
        self.writing: bool = False

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def limit(self, max_frame: int) -> None:
        """Change the size of the largest frame accepted, for frames that have not come yet."""
        self._decoder.max_frame = max_frame

    def stop_reading(self) -> None:
        """Make reads return the end of file from now on, also in a thread that waits."""
        with contextlib.suppress(OSError):  # the peer has ended: there is nothing to read anyway
            self._sock.shutdown(socket.SHUT_RD)

    def send(self, kind: Kind, generation: int, request: int, head: bytes, body: Parts) -> None:
        """Send one frame, or the part that the socket accepts (a blocking socket accepts all).

        The channel keeps a lease until it is sent. The last reference to the lease closes it.

        Raises:
            OSError: the peer is gone.
        """
        if isinstance(body, Lease):
            self.unsent.append(_Apart(kind, generation, request, head, body))
            self.flush()
            return
        buffers = gather(kind, generation, request, head, body)
        if len(buffers) == 1 and not self.unsent and not self.held and not self.writing:
            # The common case: a small message, an idle socket.
            data = buffers[0]
            try:
                sent = self._sock.send(data, self._flags)
            except BlockingIOError:
                sent = 0
            if sent == len(data):
                return
            self.unsent.append(memoryview(data)[sent:])
        else:
            self.unsent.extend(_views(buffers))
        self.flush()

    def hold(self) -> None:
        """Keep frames until `release`, which sends them together."""
        self.held = True

    def release(self) -> None:
        """See `hold`.

        Raises:
            OSError: the peer is gone.
        """
        self.held = False
        self.flush()

    def flush(self) -> None:
        """Send the data that waits, as far as the socket accepts it."""
        out = self.unsent
        while out and not self.held and not self.writing:
            try:
                if isinstance(out[0], _Apart):
                    self._pass(out[0])
                else:
                    self._write()
            except BlockingIOError:
                return

    def _write(self) -> None:
        """Write the data before the next descriptor."""
        out, buffers = self.unsent, self._next_buffers()
        sent = self._sock.sendmsg(buffers, (), self._flags)
        for buffer in buffers:
            if sent < buffer.nbytes:
                out[0] = buffer[sent:]
                return
            sent -= buffer.nbytes
            out.popleft()

    def _next_buffers(self) -> list[memoryview]:
        """The data before the next descriptor."""
        buffers: list[memoryview] = []
        for waiting in self.unsent:
            if isinstance(waiting, _Apart) or len(buffers) == _MAX_BUFFERS:
                break
            buffers.append(waiting)
        return buffers

    def _pass(self, frame: _Apart) -> None:
        """Send a frame with its descriptor, or with the body itself if that is impossible."""
        kind, generation, request, head, lease = frame
        data = announce(kind, generation, request, head, len(lease))
        right = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [lease.fileno()]))
        left: list[memoryview]
        try:
            sent = self._sock.sendmsg([data], [right], self._flags)
            left = _views([data[sent:]])  # the descriptor went with the first byte
        except OSError as error:
            if error.errno not in _NO_PASSAGE:
                raise
            # Too many descriptors are on their way in this system.
            left = _views(gather(kind, generation, request, head, payload.spread(lease)))
        self.unsent.popleft()
        self.unsent.extendleft(reversed(left))

    def receive(self) -> list[Frame]:
        """Read once; returns the frames that are complete now.

        Sets `eof` when the peer has closed its end or reset it.

        Raises:
            ProtocolError: the bytes are not frames.
        """
        count = self._read()
        if not count:
            return []
        frames = self._decoder.wrote(count)
        self.fault = self._decoder.error
        if not self._descriptors and not self._decoder.announced:
            return frames
        complete: list[Frame] = []
        try:
            complete.extend(self._joined(frames))
        except ProtocolError as error:
            self.fault = error
            if not complete:
                raise
        return complete

    @property
    def has_frame(self) -> bool:
        """Whether `receive_one` has a frame without reading."""
        return bool(self._in)

    def receive_one(self) -> Frame | None:
        """The next frame of a blocking socket; None at its end."""
        while not self._in and not self.eof:
            self._in.extend(self.receive())
        return self._in.popleft() if self._in else None

    def is_cut_off(self) -> bool:
        """Whether the peer is known to have closed its end, without reading."""
        poll = select.poll()
        poll.register(self._sock, 0)
        return bool(poll.poll(0))

    def drain(self) -> Iterator[Frame]:
        """All frames that can be read without waiting (a non-blocking socket)."""
        while count := self._read():
            yield from self._joined(self._decoder.wrote(count))

    def _joined(self, frames: list[Frame]) -> Iterator[Frame]:
        """The frames that a read completed, with their bodies."""
        for frame in frames:
            yield frame._replace(body=self._body(frame)) if frame.apart else frame
        self._decoder.announced = False
        if len(self._descriptors) > self._decoder.partial:
            raise ProtocolError("a descriptor came that belongs to no frame")

    def _body(self, frame: Frame) -> Content:
        """The body that came apart from its frame."""
        if not self._descriptors:
            raise ProtocolError(f"a frame {frame.kind.name} without the descriptor of its body")
        fd = self._descriptors.popleft()
        if fd == _NONE_LEFT:
            return payload.lost("no descriptors left in the process that received it")
        return payload.adopt(fd, frame.apart)

    def _read(self) -> int:
        """Read into the decoder; returns the number of bytes, 0 if there are none or at `eof`."""
        if self.fault is not None:
            raise self.fault
        try:
            memory = self._decoder.room
            if memory is None:
                memory = self._decoder.writable()
            count = self._take(memory, self._flags)
        except BlockingIOError:
            return 0
        except ConnectionError:
            count = 0
        if count == 0:
            self.eof = True
        return count

    def _take(self, memory: memoryview, flags: int) -> int:
        """Read into ``memory``, and the descriptors that come with it."""
        count, rights, found, _ = self._sock.recvmsg_into([memory], _ONE, _CLOSED_ON_EXEC | flags)
        if rights:
            self._descriptors.extend(array("i", rights[0][2]))
        elif found & _CUT:
            self._descriptors.append(_NONE_LEFT)
        return count

    def abandon(self) -> None:
        """In a fork of the worker: give up the socket without closing its descriptor."""
        self._sock.detach()

    def close(self) -> None:
        """Close the socket and the descriptors of incomplete frames; drop unsent data.

        The memory for reads goes at once, not when the garbage of a dead process is collected: a
        program whose workers crash all the time would grow by many of them until then.
        """
        self.unsent.clear()
        self._decoder = Decoder(self._decoder.max_frame, HEADER_SIZE)
        while self._descriptors:
            if (fd := self._descriptors.popleft()) != _NONE_LEFT:
                os.close(fd)
        self._sock.close()


def _views(buffers: list[Buffer]) -> list[memoryview]:
    return [memoryview(buffer) for buffer in buffers if len(buffer)]
