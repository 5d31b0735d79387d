"""Large payloads: a body in memory of its own (memfd), handed over by its descriptor.

The sender writes the body once; the receiver maps the very same pages. What is promised:

* *Who writes is never the monitor*: `pack` is for the caller's thread and for the worker. The
  monitor passes descriptors on and maps, microseconds whatever the size.
* *Nothing can pull the pages away.* A `Lease` is accepted only if its memory is sealed against
  shrinking, growing and writing: a peer that cut it would end this process with SIGBUS, one that
  wrote into it would change what has been checked.
* *The receiver's objects are writable*: its mapping is private, a page is copied when it is first
  written to. So a request can be sent a second time as it was (``retries=``).
* *Nothing is left behind.* The memory has no name. It lives while a descriptor or a mapping does,
  and both end with their process, with the socket in which they travel, or here: a lease closes
  its descriptor when the last reference goes, a mapping ends with the last object in it.
* *Shortage is survived.* What cannot be written goes over the socket instead; what has come and
  cannot be mapped is one request's error.
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

LOST = 3
"""First byte of what stands in for a body that was lost on the way; the reason follows."""

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
        fd: its descriptor, now owned by this object.
        size: bytes.
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
        """The body, writable and this process's own; it outlasts the lease.

        ``mmap.mmap`` would keep a copy of the descriptor for as long as the mapping lives. So it
        is given pages of its own, and the body is mapped over them.

        Raises:
            OSError: no memory, no addresses.
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
"""A body that has come."""


def pack(parts: Sequence[Buffer]) -> Parts:
    """Put a large body into memory of its own; a small one stays as it is.

    So does one for which there is no memory or no descriptor: the socket takes it in pieces.
    """
    size = sum(map(len, parts))
    if size < THRESHOLD:
        return parts
    try:
        return _write(parts, size)
    except OSError:
        return parts


def _write(parts: Sequence[Buffer], size: int) -> Lease:
    fd = os.memfd_create("procorch-payload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    lease = Lease(fd, size)
    # The system gives out the lowest number that is free, so a high one means that few are left.
    # Those are for workers: a queue of large requests must not keep them from being started.
    if fd >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(fd, rest) :]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return lease


def adopt(fd: int, size: int) -> Lease:
    """The lease of a descriptor that came from a peer, for a body announced with ``size`` bytes.

    Raises:
        ProtocolError: it is not what `pack` makes; the descriptor is closed.
    """
    lease = Lease(fd, size)
    wrong = _wrong(fd, size)
    if wrong is not None:
        lease.close()
        raise ProtocolError(wrong)
    return lease


def _wrong(fd: int, size: int) -> str | None:
    """What a descriptor lacks to be that of sealed memory of this size."""
    try:
        # The seals first: only memory has them, and only then asking for the size cannot block.
        sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS == _SEALS
    except OSError:
        sealed = False
    if not sealed:
        return "a descriptor of what is no sealed memory"
    found = os.fstat(fd).st_size
    return None if found == size else f"{found} bytes of memory for a body of {size}"


def lost(why: str) -> bytes:
    """What stands in for a body that was lost on the way; decoding it is a `SerializationError`."""
    return bytes([LOST]) + why.encode()


def unpack(content: Content) -> Buffer:
    """The bytes of a body that has come; its lease is closed.

    Raises:
        SerializationError: there is no memory, or no addresses are left, to map it.
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
    """The bytes of a body for a peer to whom no descriptor can be passed; a lease stays open."""
    if not isinstance(body, Lease):
        return body
    try:
        return [body.map()]
    except OSError as error:
        return [lost(f"its {len(body)} bytes cannot be mapped: {error}")]


def again(content: Content) -> Parts:
    """A body that has come, to be sent on as it is."""
    return content if isinstance(content, Lease) else [content]
