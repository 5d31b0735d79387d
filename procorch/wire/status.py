"""The status page of a worker: memory shared with the parent, which outlives the worker.

It has a few numbers. Each is an aligned 8-byte word that is stored at once, so a reader never sees
half of a write; a write takes about 0.1 us. There is no lock: a process that dies at any moment
leaves the page readable. Behind the numbers there is room for text. The worker's fault handler
writes its stacks there, from a signal handler in C, in any state of the interpreter.

The worker writes what it does. The parent writes which requests it cancels (N8) or takes back.
Neither writes the words of the other.
"""

from __future__ import annotations

import ctypes
import mmap
import os

from procorch.wire.fence import fence

_STARTED, _DONE, _PROGRESS, _AIMED, _ITEM, _CLAIMED, _TAKEN, _FENCED = range(8)
_AIMS = 128
"""How many cancelled requests the page has room for. A worker has at most 64 requests at a
time (``prefetch``) and takes them in order. While it has one of them, at most 127 others can be
cancelled. So no entry is overwritten before its request has ended."""
_TARGETS, _FORCES = slice(8, 8 + _AIMS), 8 + _AIMS
_HANDLES, _ERASURES, _ERASE, _READING, _SUSPECTED = range(8 + 2 * _AIMS, 13 + 2 * _AIMS)
MOST_AT_ONCE = 128
"""How many requests at once the page has room for (``concurrency``). Of these that many can be
cancelled and not answered, so no entry of a cancellation is overwritten too early either."""
_TASKS = slice(13 + 2 * _AIMS, 13 + 2 * _AIMS + MOST_AT_ONCE)
_NUMBERS = 4096
_SIZE = 65536
_MAP_FIXED = 0x10  # Linux; the mmap module does not name it

FLAG, RAISE = 1, 2
"""How a request is cancelled: by a flag (and the cancellation of its asyncio task), or by an
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

    It is mapped through libc, because ``mmap.mmap`` keeps a descriptor for each page before Python
    3.13.

    Args:
        fd: descriptor of the memory; the caller keeps it, and may close it afterwards.
    """

    __slots__ = ("_address", "_aims", "_erased_for", "_text", "_words")

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
        self._erased_for = 0

    @staticmethod
    def create() -> int:
        """A descriptor of new memory for a page; child processes do not inherit it by default.

        Its file position is the start of the text, so that the worker can write there.
        """
        fd = os.memfd_create("procorch-status", os.MFD_CLOEXEC)
        os.ftruncate(fd, _SIZE)
        os.lseek(fd, _NUMBERS, os.SEEK_SET)
        return fd

    # ---- the worker's words

    def start(self, request: int) -> None:
        """The worker begins ``request``: from here on it may have executed (N3)."""
        # In this order: a reader then never sees an item of another request.
        self._words[_ITEM] = 0
        self._words[_STARTED] = request
        self._words[_PROGRESS] += 1

    def claim(self, number: int) -> bool:
        """The worker is about to begin the ``number``-th request that was sent to it.

        Returns:
            Whether it may; False: the parent has taken it back. See `take_back`.
        """
        self._words[_CLAIMED] = number
        return number > self._words[_TAKEN]

    def start_task(self, place: int, request: int) -> None:
        """The worker, which runs several requests at once, begins ``request``.

        Args:
            place: from 0; it is free again after `finish_task`.
        """
        self._words[_TASKS.start + place] = request
        self._words[_PROGRESS] += 1

    def finish_task(self, place: int, request: int) -> None:
        """The worker has finished one of several requests and written its answer."""
        self._words[_TASKS.start + place] = 0
        self.finish(request)

    def run(self, request: int) -> None:
        """The code of ``request`` runs from here on, in a worker that runs several; 0: of none."""
        self._words[_STARTED] = request

    def promise_fences(self) -> None:
        """The worker has registered for the fences of its parent (`fence.register`)."""
        self._words[_FENCED] = 1

    def promise_handlers(self) -> None:
        """The worker handles the signals of its parent; before that one of them would end it."""
        self._words[_HANDLES] = 1

    def finish(self, request: int) -> None:
        """The worker has finished ``request`` and written its answer."""
        self._words[_DONE] = request
        self._words[_PROGRESS] += 1

    def touch(self) -> None:
        """The agent makes progress (N12)."""
        self._words[_PROGRESS] += 1

    @property
    def item_cell(self) -> memoryview:
        """The cell for the number of the current item of a chunk, from 1; the worker writes it.

        The caller writes to the cell itself, because a method call would take longer than an item.
        """
        return self._words[_ITEM : _ITEM + 1]

    @property
    def item(self) -> int:
        """How many items of the current or last chunk the worker has begun."""
        return self._words[_ITEM]

    @property
    def started(self) -> int:
        """The last request begun; 0 before the first. In a worker that runs several at once: the
        one whose code runs; 0: that of none."""
        return self._words[_STARTED]

    @property
    def begun(self) -> tuple[int, ...]:
        """The requests that a worker which runs several has begun and not answered."""
        return tuple(number for number in self._words[_TASKS].tolist() if number)

    @property
    def done(self) -> int:
        """The last request finished; 0 before the first."""
        return self._words[_DONE]

    @property
    def has_fences(self) -> bool:
        """Whether the worker executes the fences of its parent, so that `take_back` is safe."""
        return self._words[_FENCED] != 0

    @property
    def progress(self) -> int:
        """A number that changes when the worker makes progress."""
        return self._words[_PROGRESS] << 32 | self._words[_ITEM]

    @property
    def handles_signals(self) -> bool:
        """Whether the worker handles the signals of its parent."""
        return self._words[_HANDLES] != 0

    @property
    def erasures(self) -> int:
        """How often the worker has erased the text."""
        return self._words[_ERASURES]

    # ---- the parent's words

    def begin_reading(self) -> None:
        """The worker must not erase the text until `end_reading`."""
        self._words[_READING] = 1

    def end_reading(self, *, erase: bool) -> None:
        """The text has been read. ``erase``: the worker is asked to erase it; a signal has to
        follow."""
        self._words[_READING] = 0
        self._words[_ERASE] += erase

    def take_back(self, number: int) -> int:
        """Take back the first ``number`` requests that were sent to the worker, as far as it has
        not claimed them.

        The parent writes first and reads second, as the worker does in `claim`, with a fence
        between both (`fence`). So the worker begins none of those that are not claimed here. It may
        have seen this before it began the last ones that are: then it answers that they have not
        begun.

        Returns:
            The number of the last request that it has claimed. If the kernel refuses the fence,
            that is not certain, and the last one that was sent takes its place.
        """
        self._words[_TAKEN] = number
        return self._words[_CLAIMED] if fence() else number

    def aim(self, request: int, force: int) -> None:
        """Cancel ``request``, which is not 0, with ``force`` `FLAG` or `RAISE`."""
        at = self._aim(request)
        if at < 0:
            at = self._aims % _AIMS
            self._aims += 1
            self._words[_TARGETS.start + at] = 0
        # The target after its force, and `_AIMED` last: a worker that sees a target sees its force.
        self._words[_FORCES + at] = force
        self._words[_TARGETS.start + at] = request
        self._words[_AIMED] = 1

    def force(self, request: int) -> int:
        """The force with which ``request`` is cancelled; 0: it is not."""
        at = self._aim(request)
        return self._words[_FORCES + at] if at >= 0 else 0

    def _aim(self, request: int) -> int:
        if self._words[_AIMED]:
            targets = self._words[_TARGETS].tolist()
            if request in targets:
                return targets.index(request)
        return -1

    # ---- the text

    def text(self) -> bytes:
        """The text that the worker's fault handler wrote, in UTF-8; empty: it wrote none."""
        if not self.has_text:
            return b""  # the usual case; copying the text takes longer than a death
        return self._text.tobytes().split(b"\0", 1)[0]

    @property
    def has_text(self) -> bool:
        """Whether there is a text."""
        return self._text[0] != 0

    def forget_text(self, fd: int) -> None:
        """In the worker: erase the text, so that the next one begins at the start.

        Args:
            fd: the page's descriptor; its file position is set to the start of the text.
        """
        os.lseek(fd, _NUMBERS, os.SEEK_SET)
        self._text[:] = bytes(len(self._text))
        self._words[_ERASURES] += 1

    @property
    def may_erase(self) -> bool:
        """In the worker: whether there is a text, and the parent does not read it at the moment."""
        return self.has_text and not self._words[_READING]

    def suspect(self) -> None:
        """In the parent: the worker may hang, and is asked for its stacks."""
        self._words[_SUSPECTED] = self._words[_DONE]

    @property
    def is_suspected(self) -> bool:
        """In the worker: whether it has answered nothing since it was asked for its stacks."""
        return self._words[_SUSPECTED] == self._words[_DONE]

    def must_erase(self) -> bool:
        """In the worker: whether the parent has asked to erase the text since the last call."""
        asked, before = self._words[_ERASE], self._erased_for
        self._erased_for = asked
        return asked != before

    def detach(self) -> None:
        """In a fork of the worker: replace the page by private memory, which is zero.

        Raises:
            OSError: the system cannot map the memory.
        """
        if self._address is None:
            return
        access = mmap.PROT_READ | mmap.PROT_WRITE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
        if _libc.mmap(self._address, _SIZE, access, flags, -1, 0) != self._address:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def close(self) -> None:
        """Unmap the page; reading it afterwards is an error."""
        # The views first: a released view raises, but access to unmapped memory ends the process.
        self._words.release()
        self._text.release()
        address, self._address = self._address, None
        if address is not None:
            _libc.munmap(address, _SIZE)
