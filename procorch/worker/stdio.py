"""Descriptors 0, 1 and 2 of a worker: nothing to read, and two streams that its parent keeps.

By descriptor, so it holds for whatever writes: Python, a C library, ``os.write(1, ...)``, a
subprocess. The parent's standard input is not a worker's to read; it reads as empty.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys


def above_standard(fd: int) -> int:
    """``fd``, or a duplicate of it that is none of 0, 1 and 2: a parent that was started without
    those, or has closed them, gets their numbers for something else."""
    return fd if fd > 2 else fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def close_input() -> None:
    """Have a standard input with nothing to read, if there is one: who writes to the parent's finds
    out when nobody reads any more."""
    if sys.stdin is not None:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)


def install(out_fd: int, err_fd: int) -> None:
    """Make ``out_fd`` standard output and ``err_fd`` standard error; both are above 2, and closed.

    Python's own two streams write line by line: what was printed has left the process before it
    dies, and lines of several workers stay whole.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for fd, number in ((null, 0), (out_fd, 1), (err_fd, 2)):
        if fd == number:
            os.set_inheritable(fd, True)
            continue
        os.dup2(fd, number)
        if fd > 2:
            os.close(fd)
    for name, number, errors in (("stdout", 1, "strict"), ("stderr", 2, "backslashreplace")):
        stream = getattr(sys, name)
        if stream is None:  # the parent has none
            stream = open(number, "w", buffering=1, errors=errors, closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        else:
            with contextlib.suppress(AttributeError):  # a preloaded module has put another there
                stream.reconfigure(line_buffering=True)
