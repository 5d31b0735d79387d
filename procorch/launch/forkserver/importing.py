"""A zygote that is a fork of another one and has imported the modules of factories (N19).

A zygote must not import modules once it serves: an import may hang, crash, or start a thread, and
all agents would feel it. So each set of modules is imported in a fork, of which only the agents
depend that need them. What its modules have started and no fork can share makes it unfit: it exits,
and each worker imports the modules for itself.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from procorch.errors.texts import signal_name
from procorch.launch.forkserver import preloading, protocol
from procorch.worker import process_title, settling, stdio
from procorch.worker.limits import adopt_orphans, die_with


def main(
    control_fd: int, memory: int, out: int, err: int, parent: int,
    serve: Callable[[socket.socket], None],
) -> NoReturn:  # fmt: skip
    """Import the modules, then serve.

    Args:
        control_fd: a connected SOCK_SEQPACKET socket.
        memory: memory that has a `protocol.BranchHead`.
        out, err: standard output and standard error during the import.
        parent: pid of the zygote that this one was forked from.
        serve: forks workers until the socket closes or the program ends.
    """
    die_with(parent)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    adopt_orphans()
    # Those of the program that the zygote was started for; those of its modules are the workers'.
    atexit._clear()
    control_fd, out, err = map(stdio.above_standard, (control_fd, out, err))
    with open(memory, "rb") as file:
        head = protocol.decode_head.decode(file.read())
    process_title.show(b"procorch-zygote", f"procorch: zygote of process {head.supervisor}")
    control = socket.socket(fileno=control_fd)
    wanted = pickle.loads(head.imports)
    why = _import(wanted, head, out, err)
    if why is not None:
        control.send(protocol.encode(protocol.Unfit(str(wanted), why)))
        os._exit(0)
    gc.collect()
    gc.freeze()
    control.send(protocol.encode(protocol.Loaded()))
    serve(control)
    os._exit(0)  # not the exit handlers: these belong to the workers


def _import(wanted: Any, head: protocol.BranchHead, out: int, err: int) -> str | None:
    """Import the modules; the reason why this process is unfit, see `protocol.Unfit`."""
    threads, handlers = preloading.state(), _handlers()
    with _output(out, err):
        try:
            settling.settle(head.sys_path, head.surroundings, head.env, head.cwd)
            wanted.load()
        except BaseException:  # a worker meets it as well, and reports it
            return ""
    if _children():
        return "it starts a process, which would be no child of the agent"
    changed = [signum for signum, handler in _handlers().items() if handlers[signum] != handler]
    if changed:
        names = ", ".join(map(signal_name, changed))
        return f"it handles a signal ({names}), which the zygote ignores"
    return preloading.cannot_be_forked(threads)


def _handlers() -> dict[int, object]:
    return {int(signum): signal.getsignal(signum) for signum in signal.valid_signals()}


def _children() -> bool:
    with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
        return bool(file.read())


@contextlib.contextmanager
def _output(out: int, err: int) -> Iterator[None]:
    """Make these the standard output and error for a while; they are closed at the end."""
    before = [(number, _duplicate(number)) for number in (1, 2)]
    for fd, number in ((out, 1), (err, 2)):
        os.dup2(fd, number)
        os.close(fd)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        for number, kept in before:
            if kept is None:  # the program has no such stream
                os.close(number)
            else:
                os.dup2(kept, number)
                os.close(kept)


def _duplicate(number: int) -> int | None:
    try:
        return os.dup(number)
    except OSError:
        return None
