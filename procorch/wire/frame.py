"""Frames: bytes in, frames out. No sockets, no pickle.

A frame is a fixed header of 28 bytes in network order, a *head* (small, plain data that supervision
reads) and a *body* (the payload, which only the one who asked for it decodes)::

    magic "pO" | version u8 | kind u8 | generation u32 | request u64 | head_len u32 | body_len u64

The highest bit of the kind says that the body is not in the stream: it comes *apart*, in memory
whose descriptor travels with the first byte of the header (`payload`).

What the decoder promises, however the byte stream is cut into reads:

* the same frames come out, in order, each exactly once;
* every frame in front of a fault is delivered before the fault is reported, because a worker that
  answered and then went mad has answered (N3);
* a length is checked before anything is allocated for it, so a hostile peer costs no memory;
* junk (a C library that prints on our descriptor) is reported at its first wrong byte, not when
  28 bytes of it have come.

Costs: one read buffer for the decoder's life. A frame that fits into it is copied out as ``bytes``;
a larger one is received straight into its own memory, where its body is aligned and writable, so
that the arrays in it need no copy.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from procorch.errors import ProtocolError
from procorch.wire.payload import Buffer, Content

MAGIC = b"pO"
VERSION = 1
BODY_ALIGNMENT = 64

_LAYOUT = Struct("!2sBBIQIQ")
HEADER_SIZE = _LAYOUT.size

_COPY_BELOW = 16 * 1024  # up to here one copy is cheaper than one more buffer in a gathering write
_MAP_FROM = 1024 * 1024  # from here a private mapping: bytearray(n) would first write n zeros


class Kind(IntEnum):
    """What a frame is for. Requests go to the worker, the others say who sends them."""

    INIT = 1  # parent: the factory and the settings of this worker
    READY = 2  # worker: the agent is built
    REQUEST = 3  # parent
    REPLY = 4  # worker: what the agent returned
    ERROR = 5  # worker: what the agent raised
    FAILED_START = 6  # worker: the factory failed
    STOP = 7  # parent: no more requests will come
    BYE = 8  # worker: the agent is finished, this is its last answer
    ASK = 9  # worker: a question to another agent; the number is the worker's own
    ANSWER = 10  # parent: what that agent returned
    ANSWER_ERROR = 11  # parent: why there is no answer
    CHECKPOINT = 12  # worker: state for the next generation
    FORGET = 13  # worker: nobody waits for the answer to that question any more
    PART = 14  # worker: what the first items of a chunk returned; the others follow
    DELTA = 15  # worker: a piece of the answer to a request that is not done yet
    PROCEED = 16  # parent: after an error, go on with what was sent ahead


_APART = 0x80
_KINDS = {int(kind): kind for kind in Kind} | {
    # What supervision itself reads never comes apart.
    kind | _APART: kind
    for kind in (
        Kind.REQUEST, Kind.REPLY, Kind.ERROR, Kind.ASK, Kind.ANSWER, Kind.ANSWER_ERROR
    )
}  # fmt: skip


class Frame(NamedTuple):
    """One message: numbers for supervision, ``head`` and ``body`` for those concerned.

    The decoder knows of a body that comes apart its size only, in ``apart``; the channel, which
    has the descriptor, puts the body in its place.
    """

    kind: Kind
    generation: int
    request: int
    head: bytes
    body: Content
    apart: int = 0


def header(kind: int, generation: int, request: int, head_len: int, body_len: int) -> bytes:
    """Return the 28 bytes in front of a head of ``head_len`` and a body of ``body_len`` bytes."""
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
    """A frame larger than the read buffer, while it is being received into its own memory."""

    __slots__ = ("apart", "filled", "generation", "head_at", "kind", "memory", "request")

    def __init__(
        self, kind: Kind, generation: int, request: int, head_len: int, body_len: int, apart: int
    ) -> None:
        self.kind = kind
        self.generation = generation
        self.request = request
        self.head_at = slice(pad := -head_len % BODY_ALIGNMENT, pad + head_len)
        self.memory = _allocate(self.head_at.stop + body_len)
        self.filled = pad
        self.apart = apart

    def frame(self) -> Frame:
        head = bytes(self.memory[self.head_at])
        body = self.memory[self.head_at.stop :]
        return Frame(self.kind, self.generation, self.request, head, body, self.apart)


class Decoder:
    """Turns a byte stream into frames, without garbage for a read.

    Use: ``n = sock.recv_into(decoder.writable())``, then ``decoder.wrote(n)`` gives the frames that
    this read completed. Not safe for use by two threads at a time.

    Args:
        max_frame: the most bytes of head and body together that a peer may announce; it may be
            changed at any time.
        buffer_size: bytes of the read buffer; a frame above it gets memory of its own.

    Attributes:
        error: the fault of the stream, known as soon as it was read; the next call raises it.
    """

    def __init__(self, max_frame: int, buffer_size: int = 65536) -> None:
        if buffer_size < HEADER_SIZE:
            raise ValueError(f"buffer_size must be at least {HEADER_SIZE}, not {buffer_size}")
        self.max_frame = max_frame
        self.announced: bool = (
            False  # set by each frame whose body comes apart, reset by the channel
        )
        self._size = buffer_size
        self._buffer = memoryview(bytearray(buffer_size))
        self._end = 0  # bytes of an incomplete frame, at the start of the buffer
        self._large: _Large | None = None
        self.error: ProtocolError | None = None

    @property
    def partial(self) -> bool:
        """Whether the stream, if it ended now, would end in the middle of a frame."""
        return self._end > 0 or self._large is not None or self.error is not None

    def writable(self) -> memoryview:
        """Return the memory to receive into, never empty; it is valid until ``wrote``.

        Raises:
            ProtocolError: the stream is broken; nothing after the fault can be understood.
        """
        if self.error is not None:
            raise self.error
        if self._large is not None:
            return self._large.memory[self._large.filled :]
        return self._buffer[self._end :] if self._end else self._buffer

    def wrote(self, count: int) -> list[Frame]:
        """Take note of ``count`` bytes received into ``writable()``; return the complete frames.

        A fault behind complete frames is kept for the next call (and in ``error``).

        Raises:
            ProtocolError: bad magic, version, kind or length, with what was seen.
        """
        if self.error is not None:
            raise self.error
        large = self._large
        if large is not None:
            if not 0 <= count <= len(large.memory) - large.filled:
                raise ValueError(f"{count} bytes cannot have been received")
            large.filled += count
            if large.filled < len(large.memory):
                return []
            self._large = None
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
        """Cut the frames out of the first ``end`` bytes; move what is left to the start."""
        buffer = self._buffer
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
                    large.memory[large.filled : large.filled + len(came)] = came
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
            # A byte is moved at most once: afterwards its frame starts at 0 and stays there.
            buffer[:left] = buffer[start:end]
        self._end = left
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
    """Say what is wrong with bytes that are no header, and show them: often they are a print."""
    if seen[:2] != MAGIC[: len(seen)]:
        wrong = f"bad magic {bytes(seen[:2])!r} where {MAGIC!r} was expected"
    elif seen[2] != VERSION:
        wrong = f"protocol version {seen[2]} where {VERSION} was expected"
    else:
        wrong = f"unknown frame kind {seen[3]}"
    return ProtocolError(f"{wrong}; the stream goes on with {bytes(seen[:64])!r}")


def _allocate(size: int) -> memoryview:
    """Return writable memory of ``size`` bytes that starts on a page or at least on 16 bytes.

    A private anonymous mapping is not touched before it is written: it spares the zeroing that
    ``bytearray(size)`` does (a third of the time of receiving 100 MB), and a peer that announces
    much and sends nothing takes addresses, not memory.
    """
    if size < _MAP_FROM:
        return memoryview(bytearray(size))
    try:
        return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except (OSError, OverflowError, ValueError, MemoryError) as error:
        raise ProtocolError(f"no memory for a frame of {size} bytes: {error}") from error
