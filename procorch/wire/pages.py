"""Memory for large payloads: allocated once, on huge pages where the system has them.

Without them the system maps memory in pages of 4 KiB when it is first written to, which takes four
times as long as the copy itself (docs/decisions/024).
"""

from __future__ import annotations

import ctypes
import mmap

HUGE = 1 << 21
"""Bytes of a huge page on most machines; less memory than that is left alone."""

_MADV_HUGEPAGE = 14  # Linux; mmap.MADV_HUGEPAGE is the same where it exists

_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def allocate(size: int) -> memoryview:
    """Writable memory of ``size`` bytes, private to this process; it costs none until it is used.

    Raises:
        OSError, OverflowError, ValueError, MemoryError: there is none.
    """
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    view = memoryview(pages)
    prefer_huge(view)
    return view


def prefer_huge(memory: memoryview) -> None:
    """Ask for huge pages for memory that was not written to yet. The system may refuse."""
    if memory.nbytes < HUGE:
        return
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    first = -start % mmap.PAGESIZE
    _madvise(
        start + first, (memory.nbytes - first) // mmap.PAGESIZE * mmap.PAGESIZE, _MADV_HUGEPAGE
    )
