"""Large payloads: a body in memory of its own (memfd), passed by its descriptor.

The sender writes the body once, and the receiver maps the same pages. Guarantees:

* *The monitor never writes a body.* The caller's thread and the worker call `pack`. The monitor
  passes descriptors on and maps them, which takes microseconds for each size.
* *The pages cannot disappear or change.* A `Lease` is accepted only if its memory is sealed against
  shrinking, growing and writing. Otherwise a peer that shrinks it could end this process with
  SIGBUS, and one that writes to it could change what was checked.
* *The receiver's objects are writable.* Its mapping is private: the kernel copies a page at the
  first write. So a request can be sent a second time unchanged (``retries=``).
* *No memory is left behind.* The memory has no name. It exists as long as a descriptor or a mapping
  does. Both end with their process or with the socket in which they travel. In this process a lease
  closes its descriptor with the last reference, and a mapping ends with the last object in it.
* *A shortage fails one request at most.* A body that cannot be written to memory goes over the
  socket. One that has come and cannot be mapped fails its request.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import resource
from collections.abc import Callable, Sequence
from typing import TypeAlias

from procorch.errors import ProtocolError, SerializationError

Buffer: TypeAlias = bytes | bytearray | memoryview

THRESHOLD = 1 << 19
"""Bytes from which a body is passed by descriptor (docs/decisions/006)."""

STREAMED = 1 << 24
"""Bytes from which a body goes over the socket again, into memory on huge pages (decision 024)."""

LOST = 3
"""First byte of the replacement for a body that was lost on the way; the reason follows."""

_MAP_FIXED = 0x10  # Linux; the mmap module does not name it
_SEALS: int = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_mmap = ctypes.CDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
)  # fmt: skip


class Lease:
    """A body in sealed memory.

    Args:
        fd: its descriptor, owned by this object from now on.
        size: its length in bytes.
    """

    __slots__ = ("_fd", "_size")

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size

    def __len__(self) -> int:
        return self._size

    def fileno(self) -> int:
        """The descriptor; -1 when closed."""
        return self._fd

    def map(self) -> memoryview:
        """Map the body: writable, private to this process, and valid after the lease is closed.

        ``mmap.mmap`` keeps a copy of a descriptor as long as the mapping exists. So it maps empty
        pages here, and the body is mapped over them.

        Raises:
            OSError: no memory or no addresses are left.
        """
        pages = mmap.mmap(-1, self._size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | _MAP_FIXED
        if _mmap(address, self._size, protection, flags, self._fd, 0) != address:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return memoryview(pages)

    def close(self, _close: Callable[[int], None] = os.close) -> None:
        """Close the descriptor; idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            _close(fd)

    def __del__(self) -> None:
        self.close()


Parts: TypeAlias = Sequence[Buffer] | Lease
"""A body to be sent: parts to be written one after another, or a lease."""

Content: TypeAlias = Buffer | Lease
"""A received body."""


def pack(parts: Sequence[Buffer]) -> Parts:
    """Put a large body into memory of its own; return a small or a huge one unchanged.

    Without memory or a descriptor a large one is returned unchanged, too: it goes over the socket.
    """
    size = sum(map(len, parts))
    if not THRESHOLD <= size < STREAMED:
        return parts
    try:
        return _write(parts, size)
    except OSError:
        return parts


def _write(parts: Sequence[Buffer], size: int) -> Lease:
    fd = os.memfd_create("procorch-payload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    lease = Lease(fd, size)
    # The system assigns the lowest free number, so a high one means that few are left. Workers need
    # those to start, and a queue of large requests must not use them up.
    if fd >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(fd, rest) :]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return lease


def adopt(fd: int, size: int) -> Lease:
    """The lease of a descriptor from a peer, for a body announced with ``size`` bytes.

    Raises:
        ProtocolError: it is not a descriptor that `pack` makes; it is closed.
    """
    lease = Lease(fd, size)
    wrong = _wrong(fd, size)
    if wrong is not None:
        lease.close()
        raise ProtocolError(wrong)
    return lease


def _wrong(fd: int, size: int) -> str | None:
    """Why a descriptor is not sealed memory of this size; None: it is."""
    try:
        # The seals first: only memory has seals, and its size can be read without blocking.
        sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS == _SEALS
    except OSError:
        sealed = False
    if not sealed:
        return "a descriptor that is not sealed memory"
    found = os.fstat(fd).st_size
    return None if found == size else f"{found} bytes of memory for a body of {size}"


def lost(why: str) -> bytes:
    """The replacement for a body that was lost on the way; decoding raises `SerializationError`."""
    return bytes([LOST]) + why.encode()


def unpack(content: Content) -> Buffer:
    """The bytes of a received body; its lease is closed.

    Raises:
        SerializationError: no memory or no addresses are left to map it.
    """
    if not isinstance(content, Lease):
        return content
    try:
        return content.map()
    except (OSError, MemoryError) as error:
        why = f"its {len(content)} bytes cannot be mapped: {error}"
        raise SerializationError(what="message", reason=why) from error
    finally:
        content.close()


def spread(body: Parts) -> Sequence[Buffer]:
    """The bytes of a body for a peer that cannot get descriptors; a lease stays open."""
    if not isinstance(body, Lease):
        return body
    try:
        return [body.map()]
    except OSError as error:
        return [lost(f"its {len(body)} bytes cannot be mapped: {error}")]


def again(content: Content) -> Parts:
    """A received body, to be sent on unchanged."""
    return content if isinstance(content, Lease) else [content]
