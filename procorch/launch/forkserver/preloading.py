"""In the zygote, before the first fork: load what the user wants preloaded.

A process that has threads must never be forked: a lock that one of them holds at that moment
stays locked in the worker for ever. A thread cannot be taken back, either. So
when a module turns out to start one, the zygote begins anew in the same process (exec), without
that module: the workers that need it import it themselves.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from procorch.launch import first_call

_LONGEST = 1000
"""Characters of an error that are passed on."""


def load(modules: Sequence[str], warn: Callable[[str, str], None]) -> list[str] | None:
    """Import the modules.

    Args:
        warn: called with the name of a module that is left out, and why.

    Returns:
        None; or, if one of them has started a thread, those to try again without it.
    """
    own = set(threading.enumerate())
    good: list[str] = []
    for index, module in enumerate(modules):
        try:
            importlib.import_module(module)
            good.append(module)
        except BaseException as error:  # the user's module: whatever it raises
            warn(module, _in_words(error))
        new = set(threading.enumerate()) - own
        if new:
            names = ", ".join(sorted(repr(thread.name) for thread in new))
            if module in good:
                good.remove(module)
                warn(module, f"it starts a thread ({names}), which no fork copies")
            return [*good, *modules[index + 1 :]]
    return None


def _in_words(error: BaseException) -> str:
    """Safe to send, whatever the error's own methods do."""
    text = "".join(traceback.format_exception_only(error)).strip()[:_LONGEST]
    return text.encode("utf-8", "replace").decode()


def begin_again(control_fd: int, *args: Any) -> NoReturn:
    """Become a fresh zygote: same process, socket and place below the supervisor, no threads.

    Args:
        control_fd: like the other arguments, for `nursery.main`; stays open.
    """
    target, args = "procorch.launch.forkserver.server:main", (control_fd, *args)
    told = first_call.written(os.getppid(), sys.path, target, args)
    for fd in (control_fd, told):
        os.set_inheritable(fd, True)
    # As the first time, and the descriptor is the last argument but one.
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:-2], str(told), sys.orig_argv[-1]])
