"""Frames: encoding and decoding, without sockets and pickle.

A frame is a prefix of 28 bytes in network order, a *header* (small, plain data that the monitor
reads) and a *body* (the payload, which only its receiver decodes)::

    magic "pO" | version u8 | kind u8 | generation u32 | request u64 | head_len u32 | body_len u64

The highest bit of the kind says that the body is not in the stream. It comes *apart*, in memory
whose descriptor travels with the first byte of the frame (`payload`).

The decoder guarantees, however the byte stream is cut into reads:

* the same frames come out, in order, each exactly once;
* all frames before a fault are delivered before the fault is reported, because an answer counts
  also if the worker sends garbage after it (N3);
* each length is checked before memory is allocated for it, so a hostile peer costs no memory;
* garbage (a C library that prints to the socket) is reported at its first wrong byte, not after 28
  bytes.

The decoder has one read buffer. It copies a frame that fits into it out as ``bytes``. It receives a
larger frame into memory of its own, where the body is aligned and writable, so that arrays in it
need no copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from procorch.errors import ProtocolError
from procorch.wire.pages import allocate
from procorch.wire.payload import Buffer, Content, lost

MAGIC = b"pO"
VERSION = 1
BODY_ALIGNMENT = 64

_LAYOUT = Struct("!2sBBIQIQ")
HEADER_SIZE = _LAYOUT.size

_COPY_BELOW = (
    16 * 1024
)  # up to this size a copy is cheaper than a further buffer in a gathering write
_NO_MEMORY = (OSError, OverflowError, ValueError, MemoryError)
_SCRATCH = 1024 * 1024
"""Bytes that are read at a time of a body for which there is no memory; more than a read buffer."""
_MAP_FROM = 1024 * 1024  # from this size a private mapping: bytearray(n) would first write n zeros


class Kind(IntEnum):
    """The kind of a frame; the comments have its sender."""

    INIT = 1  # parent: the factory and the settings of this worker
    READY = 2  # worker: the agent is built
    REQUEST = 3  # parent: a request
    REPLY = 4  # worker: what the agent returned
    ERROR = 5  # worker: what the agent raised
    FAILED_START = 6  # worker: the factory failed
    STOP = 7  # parent: no more requests will come
    BYE = 8  # worker: the agent is finished, this is its last answer
    ASK = 9  # worker: a question to another agent; the number is the worker's own
    ANSWER = 10  # parent: what that agent returned
    ANSWER_ERROR = 11  # parent: why there is no answer
    CHECKPOINT = 12  # worker: state for the next generation
    FORGET = 13  # worker: cancels that question
    PART = 14  # worker: what the first items of a chunk returned; the others follow
    DELTA = 15  # worker: a piece of the answer to the current request
    PROCEED = 16  # parent: after an error, go on with the requests that were sent ahead
    CALL = 17  # worker: may I call a service; the number is the worker's own, ANSWER says yes
    CALL_END = 18  # worker: how that call ended and what it used; number 0: it needed no answer
    NOT_BEGUN = 19  # worker: the request was taken back before it began
    CLUSTER = 20  # parent and its bridge to a cluster: about the worker of that number
    CANCEL = 21  # parent: end that request, one of several that the worker runs


_APART = 0x80
_KINDS = {int(kind): kind for kind in Kind} | {
    # Bodies that the monitor itself reads never come apart.
    kind | _APART: kind
    for kind in (
        Kind.REQUEST, Kind.REPLY, Kind.ERROR, Kind.ASK, Kind.ANSWER, Kind.ANSWER_ERROR,
        Kind.CLUSTER,
    )
}  # fmt: skip


class Frame(NamedTuple):
    """One message.

    Of a body that comes apart the decoder knows only the size, ``apart``. The channel, which has
    the descriptor, sets the body.
    """

    kind: Kind
    generation: int
    request: int
    head: bytes
    body: Content
    apart: int = 0


def header(kind: int, generation: int, request: int, head_len: int, body_len: int) -> bytes:
    """Return the prefix of a header of ``head_len`` and a body of ``body_len`` bytes."""
    return _LAYOUT.pack(MAGIC, VERSION, kind, generation, request, head_len, body_len)


def gather(
    kind: int, generation: int, request: int, head: bytes, parts: Sequence[Buffer]
) -> list[Buffer]:
    """Return the buffers to write, one after another, for a frame whose body is in ``parts``.

    Args:
        parts: the body, as ``codec.encode`` returns it; memoryviews must be of bytes (one
            dimension, item size 1).
    """
    size = 0
    for part in parts:
        size += len(part)
    first = _LAYOUT.pack(MAGIC, VERSION, kind, generation, request, len(head), size) + head
    if size <= _COPY_BELOW:
        return [b"".join((first, *parts))]
    return [first, *parts]


def announce(kind: int, generation: int, request: int, head: bytes, size: int) -> bytes:
    """Return the bytes to write for a frame whose body of ``size`` bytes comes apart."""
    return header(kind | _APART, generation, request, len(head), size) + head


class _Large:
    """A frame larger than the read buffer, while it is being received into its own memory.

    If there is no memory for its body, the body is read and dropped, and only it is lost.
    """

    __slots__ = (
        "apart", "filled", "generation", "head_at", "kind", "lost", "memory", "request", "size"
    )  # fmt: skip

    def __init__(
        self, kind: Kind, generation: int, request: int, head_len: int, body_len: int, apart: int
    ) -> None:
        self.kind = kind
        self.generation = generation
        self.request = request
        self.head_at = slice(pad := -head_len % BODY_ALIGNMENT, pad + head_len)
        self.size = self.head_at.stop + body_len
        self.lost: bytes | None = None
        try:
            self.memory = _allocate(self.size)
        except _NO_MEMORY as error:
            self.lost = lost(f"its {body_len} bytes cannot be mapped: {error}")
            try:
                self.memory = _allocate(self.head_at.stop + _SCRATCH)
            except _NO_MEMORY as none:
                raise ProtocolError(f"no memory for a header of {head_len} bytes: {none}") from none
        self.filled = pad
        self.apart = apart

    def room(self) -> memoryview:
        """The memory for the next bytes, never empty."""
        if self.lost is None:
            return self.memory[self.filled :]
        start = min(self.filled, self.head_at.stop)
        return self.memory[start : start + self.size - self.filled]

    def frame(self) -> Frame:
        head = bytes(self.memory[self.head_at])
        body = self.memory[self.head_at.stop :] if self.lost is None else self.lost
        return Frame(self.kind, self.generation, self.request, head, body, self.apart)


class Decoder:
    """Turns a byte stream into frames.

    Use: ``n = sock.recv_into(decoder.writable())``, then ``decoder.wrote(n)`` gives the frames that
    this read completed. Not safe for use by two threads at a time.

    Args:
        max_frame: the most bytes of head and body together that a peer may announce; it may be
            changed at any time.
        buffer_size: bytes of the read buffer; a frame above it gets memory of its own.

    Attributes:
        error: the fault of the stream, set as soon as it was read; the next call raises it.
        announced: a frame whose body comes apart was decoded; the channel resets it.
        room: what `writable` returns, if the last read ended with a whole frame; None: call it.
    """

    def __init__(self, max_frame: int, buffer_size: int = 65536) -> None:
        if buffer_size < HEADER_SIZE:
            raise ValueError(f"buffer_size must be at least {HEADER_SIZE}, not {buffer_size}")
        self.max_frame = max_frame
        self.announced: bool = False
        self._size = buffer_size
        self._buffer = memoryview(bytearray(buffer_size))
        self.room: memoryview | None = self._buffer
        self._end = 0  # bytes of an incomplete frame, at the start of the buffer
        self._large: _Large | None = None
        self.error: ProtocolError | None = None

    @property
    def partial(self) -> bool:
        """Whether the stream is in the middle of a frame now, or broken."""
        return self._end > 0 or self._large is not None or self.error is not None

    def writable(self) -> memoryview:
        """Return the memory for the next read, never empty; it is valid until ``wrote``.

        Raises:
            ProtocolError: the stream is broken; nothing after the fault can be decoded.
        """
        if self.error is not None:
            raise self.error
        if self._large is not None:
            return self._large.room()
        return self._buffer[self._end :] if self._end else self._buffer

    @property
    def missing(self) -> int:
        """How many bytes a frame in memory of its own still needs; 0 if there is no such frame."""
        return 0 if self._large is None else self._large.size - self._large.filled

    def filled(self, count: int) -> None:
        """Note that ``count`` bytes, fewer than are `missing`, were received into `writable`."""
        assert self._large is not None
        self._large.filled += count

    def wrote(self, count: int) -> list[Frame]:
        """Decode ``count`` bytes received into ``writable()``; return the complete frames.

        A fault after complete frames is raised by the next call, and is in ``error``.

        Raises:
            ProtocolError: bad magic, version, kind or length; the text has the bytes.
        """
        if self.error is not None:
            raise self.error
        large = self._large
        if large is not None:
            if not 0 <= count <= large.size - large.filled:
                raise ValueError(f"{count} bytes cannot have been received")
            large.filled += count
            if large.filled < large.size:
                return []
            self._large = None
            self.room = self._buffer
            self.announced = large.apart > 0
            return [large.frame()]
        end = self._end + count
        if count < 0 or end > self._size:
            raise ValueError(f"{count} bytes cannot have been received")
        frames: list[Frame] = []
        try:
            self._parse(end, frames)
        except ProtocolError as error:
            self.error = error
            if not frames:
                raise
        return frames

    def _parse(self, end: int, frames: list[Frame]) -> None:
        """Decode the frames in the first ``end`` bytes; move the rest to the start."""
        buffer = self._buffer
        self.room = None
        start = 0
        while end - start >= HEADER_SIZE:
            magic, version, number, generation, request, head_len, body_len = _LAYOUT.unpack_from(
                buffer, start
            )
            kind = _KINDS.get(number)
            if magic != MAGIC or version != VERSION or kind is None:
                raise _fault(buffer[start:end])
            if head_len + body_len > self.max_frame:
                raise ProtocolError(
                    f"frame {kind.name} announces {head_len} + {body_len} bytes, "
                    f"more than the {self.max_frame} allowed"
                )
            apart = 0
            if number & _APART:
                apart, body_len = body_len, 0
            body_at = start + HEADER_SIZE + head_len
            stop = body_at + body_len
            if stop > end:
                if stop - start > self._size:
                    large = _Large(kind, generation, request, head_len, body_len, apart)
                    came = buffer[start + HEADER_SIZE : end]
                    large.room()[: len(came)] = came
                    large.filled += len(came)
                    self._large = large
                    self._end = 0
                    return
                break
            head_bytes = bytes(buffer[start + HEADER_SIZE : body_at]) if head_len else b""
            body = bytes(buffer[body_at:stop])
            if apart:
                self.announced = True
                frames.append(Frame(kind, generation, request, head_bytes, body, apart))
            else:
                frames.append(Frame(kind, generation, request, head_bytes, body))
            start = stop
        left = end - start
        if start and left:
            # Each byte is moved at most once: afterwards its frame starts at 0.
            buffer[:left] = buffer[start:end]
        self._end = left
        if not left:
            self.room = buffer
        if 0 < left < HEADER_SIZE and not _plausible(buffer[:left]):
            raise _fault(buffer[:left])


def _plausible(seen: memoryview) -> bool:
    """Whether the first bytes of a header, fewer than a header has, can still become one."""
    return (
        seen[:2] == MAGIC[: len(seen)]
        and (len(seen) < 3 or seen[2] == VERSION)
        and (len(seen) < 4 or seen[3] in _KINDS)
    )


def _fault(seen: memoryview) -> ProtocolError:
    """The error of bytes that are not a frame. It shows them: often they are printed text."""
    if seen[:2] != MAGIC[: len(seen)]:
        wrong = f"bad magic {bytes(seen[:2])!r} where {MAGIC!r} was expected"
    elif seen[2] != VERSION:
        wrong = f"protocol version {seen[2]} where {VERSION} was expected"
    else:
        wrong = f"unknown frame kind {seen[3]}"
    return ProtocolError(f"{wrong}; the stream goes on with {bytes(seen[:64])!r}")


def _allocate(size: int) -> memoryview:
    """Return writable memory of ``size`` bytes that starts on a page or at least on 16 bytes.

    A private anonymous mapping is not touched before it is written. So it saves the zeroing of
    ``bytearray(size)`` (a third of the time to receive 100 MB), and a peer that announces much and
    sends nothing costs addresses and no memory.
    """
    return memoryview(bytearray(size)) if size < _MAP_FROM else allocate(size)
