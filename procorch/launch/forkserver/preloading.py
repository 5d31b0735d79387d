"""In the zygote, before the first fork: imports the modules of ``preload``.

A process with threads must not be forked: a lock that one of them holds at that moment stays locked
in the worker for ever. A process with a connection must not be forked either: all workers would
send on it and receive each other's answers. Neither a thread nor a connection can be undone. So if
a module has started one, the zygote starts anew in the same process (exec), without that module.
Workers that need it import it themselves.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence, Set
from typing import Any, NamedTuple, NoReturn

from procorch.launch import first_call

_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
_LONGEST = 1000
"""The most characters of an error that are reported."""


def load(modules: Sequence[str], warn: Callable[[str, str], None]) -> list[str] | None:
    """Import the modules.

    Args:
        warn: called with the name of a module that is not preloaded, and the reason.

    Returns:
        None; if a module has started a thread or a connection, the other modules, with which the
        zygote has to start anew.
    """
    before = state()
    good: list[str] = []
    for index, module in enumerate(modules):
        try:
            importlib.import_module(module)
            good.append(module)
        except BaseException as error:  # code of the user may raise anything
            warn(module, _in_words(error))
        why = cannot_be_forked(before)
        if why is not None:
            if module in good:
                good.remove(module)
                warn(module, why)
            return [*good, *modules[index + 1 :]]
    return None


class State(NamedTuple):
    """The threads of this process, and its connections by their links in ``/proc``."""

    threads: Set[threading.Thread]
    connections: Set[str]


def state() -> State:
    """The present state."""
    return State(set(threading.enumerate()), _connections().keys())


def cannot_be_forked(before: State) -> str | None:
    """The reason why this process cannot be forked, as text: a new thread or connection."""
    new = set(threading.enumerate()) - before.threads
    if new:
        names = ", ".join(sorted(repr(thread.name) for thread in new))
        return f"it starts a thread ({names}), which no fork copies"
    opened = [peer for link, peer in _connections().items() if link not in before.connections]
    if opened:
        return f"it opens a connection ({', '.join(opened)}), which all agents would share"
    return None


def _connections() -> dict[str, str]:
    """The addresses of open stream sockets that are connected or listen, by their links in
    ``/proc``."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{fd}")
            if link.startswith("socket:"):
                address = _address(int(fd))
                if address is not None:
                    found[link] = address
        except OSError:
            continue  # the descriptor of the list itself, or an unconnected socket
    return found


def _address(fd: int) -> str | None:
    with socket.socket(fileno=os.dup(fd)) as it:
        if it.type != socket.SOCK_STREAM or it.family not in _FAMILIES:
            return None
        listens = it.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        peer = it.getsockname() if listens else it.getpeername()
        # A socket pair has no names and connects this process with itself.
        return ":".join(map(str, peer[:2])) if isinstance(peer, tuple) else peer or None


def _in_words(error: BaseException) -> str:
    """The text of an error, in a form that can be sent."""
    text = "".join(traceback.format_exception_only(error)).strip()[:_LONGEST]
    return text.encode("utf-8", "replace").decode()


def begin_again(control_fd: int, *args: Any) -> NoReturn:
    """Start the zygote anew by exec: the same process, socket and parent, without threads.

    Args:
        control_fd: the first argument of `server.main`; it stays open.
        args: the other arguments.
    """
    target, args = "procorch.launch.forkserver.server:main", (control_fd, *args)
    told = first_call.written(os.getppid(), sys.path, target, args)
    for fd in (control_fd, told):
        os.set_inheritable(fd, True)
    # The same command as at the first start; the descriptor is the last argument but one.
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:-2], str(told), sys.orig_argv[-1]])
