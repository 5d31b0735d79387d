"""The status page of a worker: memory shared with the parent that outlives the worker.

A few numbers, each one aligned 8-byte word that is stored at once, so a reader never sees half of
one; a write costs about 0.1 us. No lock is shared: a process that dies at any moment leaves the
page readable. Behind the numbers there is room for text: the worker's fault handler writes its
stacks there, from a signal handler in C, whatever state the interpreter is in.

The worker writes what it does, the parent what it wants cancelled (N8); nobody writes the other's
words.
"""

from __future__ import annotations

import ctypes
import mmap
import os

_STARTED, _DONE, _PROGRESS, _AIMED, _ITEM = range(5)
_AIMS = 128
"""How many requests there is room for that the parent wants cancelled. A worker has at most 64 at a
time (``prefetch``), in the order in which it takes them: while one of them is there no more than
127 others can be cancelled, so none is written over before it is through."""
_TARGETS, _FORCES = slice(8, 8 + _AIMS), 8 + _AIMS
_NUMBERS = 4096
_SIZE = 65536
_MAP_FIXED = 0x10  # Linux; the mmap module does not name it

FLAG, RAISE = 1, 2
"""How hard a request is cancelled: by a flag (an asyncio task by its cancellation), or by an
exception."""


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_FAILED = ctypes.c_void_p(-1).value


class StatusPage:
    """One worker's page.

    Mapped through libc: ``mmap.mmap`` keeps a descriptor of its own before Python 3.13, one for
    each agent.

    Args:
        fd: descriptor of the memory; it stays the caller's and may be closed afterwards.
    """

    __slots__ = ("_address", "_aims", "_text", "_words")

    def __init__(self, fd: int) -> None:
        access = mmap.PROT_READ | mmap.PROT_WRITE
        address = _libc.mmap(None, _SIZE, access, mmap.MAP_SHARED, fd, 0)
        if address is None or address == _FAILED:
            errno = ctypes.get_errno()
            raise OSError(errno, f"the status page cannot be mapped: {os.strerror(errno)}")
        self._address: int | None = address
        memory = memoryview((ctypes.c_ubyte * _SIZE).from_address(address)).cast("B")
        self._words = memory[:_NUMBERS].cast("Q")
        self._text = memory[_NUMBERS:]
        self._aims = 0

    @staticmethod
    def create() -> int:
        """A descriptor of fresh memory for a page, not inherited by default.

        Its file position is where text goes, so that whoever inherits it can write there.
        """
        fd = os.memfd_create("procorch-status", os.MFD_CLOEXEC)
        os.ftruncate(fd, _SIZE)
        os.lseek(fd, _NUMBERS, os.SEEK_SET)
        return fd

    # ---- the worker's words

    def start(self, request: int) -> None:
        """The worker begins ``request``: from here on it may have executed (N3)."""
        # In this order: an item that is seen is one of the request that is seen.
        self._words[_ITEM] = 0
        self._words[_STARTED] = request
        self._words[_PROGRESS] += 1

    def finish(self, request: int) -> None:
        """The worker is done with ``request``, its answer included."""
        self._words[_DONE] = request
        self._words[_PROGRESS] += 1

    def touch(self) -> None:
        """The agent makes progress (N12)."""
        self._words[_PROGRESS] += 1

    @property
    def item_cell(self) -> memoryview:
        """Where the worker writes, at 0, the number of the item of a chunk that it begins, from 1.

        The cell itself, because a method call for each item would cost more than the item.
        """
        return self._words[_ITEM : _ITEM + 1]

    @property
    def item(self) -> int:
        """How many items the worker has begun of the chunk that it works on, or did last."""
        return self._words[_ITEM]

    @property
    def started(self) -> int:
        """The last request begun; 0 before the first."""
        return self._words[_STARTED]

    @property
    def done(self) -> int:
        """The last request finished; 0 before the first."""
        return self._words[_DONE]

    @property
    def progress(self) -> int:
        """A number that changes whenever the worker gets on."""
        return self._words[_PROGRESS] << 32 | self._words[_ITEM]

    # ---- the parent's words

    def aim(self, request: int, force: int) -> None:
        """Cancel ``request`` with ``force``, `FLAG` or `RAISE`; it is not 0."""
        at = self._aim(request)
        if at < 0:
            at = self._aims % _AIMS
            self._aims += 1
            self._words[_TARGETS.start + at] = 0
        # The target last, and then that there is one: a worker that sees it sees its force, too.
        self._words[_FORCES + at] = force
        self._words[_TARGETS.start + at] = request
        self._words[_AIMED] = 1

    def force(self, request: int) -> int:
        """How hard ``request`` is to be cancelled; 0: not at all."""
        at = self._aim(request)
        return self._words[_FORCES + at] if at >= 0 else 0

    def _aim(self, request: int) -> int:
        if self._words[_AIMED]:
            targets = self._words[_TARGETS].tolist()
            if request in targets:
                return targets.index(request)
        return -1

    # ---- the text

    def text(self) -> str | None:
        """What the worker's fault handler wrote; None if it did not."""
        if not self.has_text:
            return None  # as a rule: to look at all of it takes longer than a death
        written = self._text.tobytes().split(b"\0", 1)[0]
        return written.decode("utf-8", "replace")

    @property
    def has_text(self) -> bool:
        """Whether there is a text."""
        return self._text[0] != 0

    def forget_text(self, fd: int) -> None:
        """In the worker: what was written is not true any more, and the next text begins anew.

        Args:
            fd: the page's descriptor, whose file position is where text goes.
        """
        os.lseek(fd, _NUMBERS, os.SEEK_SET)
        self._text[:] = bytes(len(self._text))

    def detach(self) -> None:
        """In a fork of the worker: from now on this process has a page of its own.

        What it writes is then seen by nobody, and what it reads is zero.

        Raises:
            OSError: the system refuses.
        """
        if self._address is None:
            return
        access = mmap.PROT_READ | mmap.PROT_WRITE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
        if _libc.mmap(self._address, _SIZE, access, flags, -1, 0) != self._address:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def close(self) -> None:
        """Unmap the page; reading it afterwards is an error."""
        # The views first: a released one raises, where memory that is not there ends the process.
        self._words.release()
        self._text.release()
        address, self._address = self._address, None
        if address is not None:
            _libc.munmap(address, _SIZE)
