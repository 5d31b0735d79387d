"""What a worker asks of the kernel for itself, first thing."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Mapping

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_FOR_ALL = "PROCORCH_CACHE"
"""Where the weights of models are: a fact about the machine, the same for every process."""


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the one that made it dies (docs/guarantees.md).

    The parent may have died before the signal was armed; then nobody would send it.
    """
    set_death_signal(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def set_death_signal(signum: signal.Signals) -> None:
    """Have the kernel send ``signum`` to this process when the thread that made it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def adopt_orphans() -> None:
    """Have the kernel hand this process whatever below it loses its parent: a subprocess that forks
    twice and leaves the group is still found below its worker, and ends with it."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def own_group() -> None:
    """Leave the terminal's process group: Ctrl-C is for the supervisor, which alone decides; and
    whatever this worker starts can be signalled together with it."""
    os.setsid()


def own_signals() -> None:
    """Begin with the usual signal handling, whatever the parent ignores or blocks: both would be
    inherited over exec, SIGTERM would not end a worker and its subprocesses would lose their exit
    status."""
    for signum in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def own_environment() -> None:
    """Forget the variables of procorch: they were meant for the program that started this worker,
    not for a command or an orchestrator inside it."""
    for name in [name for name in os.environ if name.startswith("PROCORCH_")]:
        if name != _FOR_ALL:
            del os.environ[name]


def apply(env: Mapping[str, str], cwd: str | None, nice: int, address_space: int | None) -> None:
    """What the agent's settings ask of its process.

    Raises:
        OSError: the system refuses, as for a directory that is not there.
        ValueError: a limit that the system does not allow.
    """
    os.environ.update(env)
    if cwd is not None:
        os.chdir(cwd)
    if nice:
        os.nice(nice)
    if address_space is not None:
        resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
