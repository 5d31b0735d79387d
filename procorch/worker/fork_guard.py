"""Keeps a process that the agent's code forks from acting as the worker (N21).

A fork by Python runs the hook of `on_fork` in the child, which gives up the socket and the status
page. A fork in C code runs no hook. So the pid is compared as well wherever the child could act as
the worker: before it sends or receives, and when a call of the agent's code returns. There the
child exits, like a script at its end.

The child does not run exit handlers or close the agent: both belong to the worker.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

_worker = 0  # pid of the worker that this process is or was forked from; 0: none


def on_fork(release: Callable[[], None]) -> None:
    """Mark this process as a worker; ``release`` runs in each process forked from it."""
    global _worker
    _worker = os.getpid()
    os.register_at_fork(after_in_child=release)


def leave_if_forked(why: str = "") -> None:
    """End this process if it was forked from a worker.

    An exception that is being handled is reported as by the interpreter, and determines the exit
    status. Otherwise a ``why`` that is not empty is printed, and the exit status is 1.
    """
    if _worker in (0, os.getpid()):
        return
    code, error = 0, sys.exception()
    try:
        if isinstance(error, SystemExit):
            code = exit_code(error)
        elif error is not None:
            code = 1
            sys.excepthook(type(error), error, error.__traceback__)
        elif why:
            code = 1
            print(f"process {os.getpid()}, forked from worker {_worker}: {why}", file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
    finally:
        os._exit(code)


def exit_code(leaving: SystemExit) -> int:
    """The exit status that the interpreter would use; a text in its place is printed."""
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code & 0xFF
    print(leaving.code, file=sys.stderr)
    return 1
