"""What `ps` shows for a process of procorch: its name (``comm``) and its command line.

The kernel keeps the command line in the process's own memory, at addresses that it tells. It is
written through ``/proc/self/mem``, where a wrong address is an error and no crash, and only where
the present command line is found. Python's own copies (``sys.argv``, ``sys.orig_argv``) stay, and
so does the identity of the process: number and start time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

_PR_SET_NAME = 15
_COMM = 15
"""Bytes that a name may have."""
_ARG_START, _ARG_END = 48 - 3, 49 - 3
"""Fields of ``/proc/PID/stat`` behind the name, which is the second of them."""


def of_worker(agent: str, instance: int, generation: int) -> None:
    """Name this process after the agent that it runs."""
    agent = "".join(each if each.isprintable() else "?" for each in agent)
    which = f"#{instance}.{generation}"
    # Programs that read /proc take brackets, spaces and what is not ASCII in it for something else.
    known = [
        each if each.isascii() and (each.isalnum() or each in "-_.:/") else "_" for each in agent
    ]
    comm = "".join(known)[: max(0, _COMM - len(which))] + which
    show(comm.encode(), f"procorch: {agent} (instance {instance}, generation {generation})")


def show(comm: bytes, title: str) -> None:
    """Show ``comm`` as this process's name and ``title`` as its command line, as far as it can be
    done; both are for people, and nothing depends on them."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, ctypes.create_string_buffer(comm[:_COMM]), 0, 0, 0)
    with contextlib.suppress(OSError, ValueError, IndexError):
        _write(title)


def _write(title: str) -> None:
    with open("/proc/self/stat", "rb") as stat, open("/proc/self/cmdline", "rb") as cmdline:
        fields = stat.read().rpartition(b")")[2].split()
        shown = cmdline.read()
    start, room = int(fields[_ARG_START]), int(fields[_ARG_END]) - int(fields[_ARG_START])
    fd = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.pread(fd, room, start) == shown:
            # All of it: what is left of the old one would be shown behind the new one. The kernel
            # reads on behind a last byte that is not zero.
            os.pwrite(fd, _cut(title, room - 1).ljust(room, b"\0"), start)
    finally:
        os.close(fd)


def _cut(text: str, most: int) -> bytes:
    """At most so many bytes of a text, without half a character at the end."""
    return text.encode(errors="replace")[:most].decode(errors="ignore").encode()
