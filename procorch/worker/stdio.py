"""Descriptors 0, 1 and 2 of a worker: an empty input, and two streams that its parent reads.

The descriptors are replaced, so this applies to all writers: Python, C libraries, ``os.write``,
subprocesses. A worker must not read the parent's standard input, so its own is empty.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys


def above_standard(fd: int) -> int:
    """``fd``, or a duplicate of it above 2. If the parent has no standard streams, its other files
    may have the numbers 0 to 2."""
    return fd if fd > 2 else fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def close_input() -> None:
    """Replace the standard input by an empty one, if there is one. So the process does not keep the
    parent's standard input open for its writer."""
    if sys.stdin is not None:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)


def install(out_fd: int, err_fd: int) -> None:
    """Make ``out_fd`` standard output and ``err_fd`` standard error; both are above 2 and get
    closed.

    Python's two streams are line-buffered: printed lines leave the process before it dies, and
    lines of several workers stay whole.
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
            with contextlib.suppress(AttributeError):  # a preloaded module has replaced it
                stream.reconfigure(line_buffering=True)
