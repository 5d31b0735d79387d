"""In the zygote, before the first fork: load what the user wants preloaded.

A process that has threads must never be forked: a lock that one of them holds at that moment
stays locked in the worker for ever. Neither must one that has a connection: all workers would send
on it, and receive each other's answers. Neither a thread nor a connection can be taken back. So
when a module turns out to have begun one, the zygote begins anew in the same process (exec),
without that module: the workers that need it import it themselves.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence, Set
from typing import Any, NoReturn

from procorch.launch import first_call

_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
_LONGEST = 1000
"""Characters of an error that are passed on."""


def load(modules: Sequence[str], warn: Callable[[str, str], None]) -> list[str] | None:
    """Import the modules.

    Args:
        warn: called with the name of a module that is left out, and why.

    Returns:
        None; or, if one of them has started a thread or a connection, those to try again without
        it.
    """
    own, connected = set(threading.enumerate()), _connections().keys()
    good: list[str] = []
    for index, module in enumerate(modules):
        try:
            importlib.import_module(module)
            good.append(module)
        except BaseException as error:  # the user's module: whatever it raises
            warn(module, _in_words(error))
        why = _cannot_be_forked(own, connected)
        if why is not None:
            if module in good:
                good.remove(module)
                warn(module, why)
            return [*good, *modules[index + 1 :]]
    return None


def _cannot_be_forked(threads: Set[threading.Thread], connected: Set[str]) -> str | None:
    """What there is beside those that must not be forked, in words."""
    new = set(threading.enumerate()) - threads
    if new:
        names = ", ".join(sorted(repr(thread.name) for thread in new))
        return f"it starts a thread ({names}), which no fork copies"
    opened = [peer for link, peer in _connections().items() if link not in connected]
    if opened:
        return f"it opens a connection ({', '.join(opened)}), which all agents would share"
    return None


def _connections() -> dict[str, str]:
    """The open stream sockets that lead to somebody, or that somebody may connect to, by their
    links in ``/proc``, with their addresses in words."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{fd}")
            if link.startswith("socket:"):
                address = _address(int(fd))
                if address is not None:
                    found[link] = address
        except OSError:
            continue  # the descriptor of the list itself, or a socket that leads nowhere
    return found


def _address(fd: int) -> str | None:
    with socket.socket(fileno=os.dup(fd)) as it:
        if it.type != socket.SOCK_STREAM or it.family not in _FAMILIES:
            return None
        listens = it.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        peer = it.getsockname() if listens else it.getpeername()
        # A pair of sockets without names leads to this process itself.
        return ":".join(map(str, peer[:2])) if isinstance(peer, tuple) else peer or None


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
