"""A process that the agent's code forks is not a worker (N21).

Python's own way to fork runs the hook of `on_fork` in the child: it gives up the socket and the
status page. A fork in C code runs no hook, so the pid is compared as well wherever the child could
act as the worker: before anything is sent or received, and where a call of the agent's code
returns. There the child ends, as a script that reaches its end.

Exit handlers do not run in it, nor is the agent closed: both are the worker's.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

_worker = 0  # pid of the worker that this process is or was forked from; 0: it is none


def on_fork(release: Callable[[], None]) -> None:
    """This process is a worker from now on; ``release`` runs in every process forked from it."""
    global _worker
    _worker = os.getpid()
    os.register_at_fork(after_in_child=release)


def leave_if_forked(why: str = "") -> None:
    """End this process if it was forked from a worker.

    An exception that is being handled is reported as the interpreter does it, and gives the exit
    status; so does ``why``, unless it is empty.
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
    """The status that the interpreter would exit with; a text is printed, as it does."""
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code & 0xFF
    print(leaving.code, file=sys.stderr)
    return 1
