"""The name (``comm``) and command line that `ps` shows for a process of procorch.

The kernel reads the command line from the memory of the process, at addresses in ``/proc``. It is
written through ``/proc/self/mem``, where a wrong address is an error and not a crash, and only if
the current command line is found there. Python's copies (``sys.argv``, ``sys.orig_argv``) stay, and
so does the identity of the process: number and start time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

_PR_SET_NAME = 15
_COMM = 15
"""The most bytes of a name."""
_ARG_START, _ARG_END = 48 - 3, 49 - 3
"""Fields of ``/proc/PID/stat`` behind the name, which is the second of them."""


def of_worker(agent: str, instance: int, generation: int) -> None:
    """Name this process after the agent that it runs."""
    agent = "".join(each if each.isprintable() else "?" for each in agent)
    which = f"#{instance}.{generation}"
    # Programs that read /proc misread brackets, spaces and characters beyond ASCII in a name.
    known = [
        each if each.isascii() and (each.isalnum() or each in "-_.:/") else "_" for each in agent
    ]
    comm = "".join(known)[: max(0, _COMM - len(which))] + which
    show(comm.encode(), f"procorch: {agent} (instance {instance}, generation {generation})")


def show(comm: bytes, title: str) -> None:
    """Set the name of this process to ``comm`` and its command line to ``title``, if possible. Both
    are for people; no code depends on them."""
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
            # Overwrite all of it, or the rest of the old one would follow. The last byte is zero:
            # otherwise the kernel would read on behind it.
            os.pwrite(fd, _cut(title, room - 1).ljust(room, b"\0"), start)
    finally:
        os.close(fd)


def _cut(text: str, most: int) -> bytes:
    """At most ``most`` bytes of a text, without an incomplete character at the end."""
    return text.encode(errors="replace")[:most].decode(errors="ignore").encode()
