"""Settings of a worker process that the kernel applies, made at its start."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Collection

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_FOR_ALL = "PROCORCH_CACHE"
"""The folder of model weights: the same for all processes of a machine."""


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (docs/explanation/guarantees.md).

    If the parent has died before this call, no signal will come, so the process exits.

    Args:
        parent: pid of the parent.
    """
    set_death_signal(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def set_death_signal(signum: signal.Signals) -> None:
    """Have the kernel send ``signum`` to this process when the thread that started it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def adopt_orphans() -> None:
    """Make this process the new parent of descendants whose parent ends. So a subprocess that forks
    twice and leaves the process group stays a descendant of its worker, and ends with it."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def own_group() -> None:
    """Start a new session and process group. So Ctrl-C at the terminal reaches only the program,
    and all processes that this worker starts can be signalled together with it."""
    os.setsid()


def own_signals() -> None:
    """Restore the default signal handling. Ignored and blocked signals of the parent are inherited
    over exec: SIGTERM might not end a worker, and its subprocesses might lose their exit status."""
    for signum in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def own_environment() -> None:
    """Remove the environment variables of procorch: they are for the program that started this
    worker, not for a command or an orchestrator inside it."""
    for name in [name for name in os.environ if name.startswith("PROCORCH_")]:
        if name != _FOR_ALL:
            del os.environ[name]


def enter(cgroup: str) -> None:
    """Move this process into a cgroup; what it starts from now on is in it, too.

    If the kernel refuses that, it stays where it is: its memory is measured in any case.

    Args:
        cgroup: the folder of the cgroup.
    """
    with contextlib.suppress(OSError), open(f"{cgroup}/cgroup.procs", "wb", buffering=0) as file:
        file.write(b"0")


def apply(nice: int, address_space: int | None, cpus: Collection[int] | None = None) -> None:
    """Apply the agent's limits to this process.

    Args:
        cpus: the processors that it may use; None: as now.

    Raises:
        OSError: the system refuses.
        ValueError: a limit that the system does not allow.
    """
    if cpus is not None:
        os.sched_setaffinity(0, cpus)
    if nice:
        os.nice(nice)
    if address_space is not None:
        resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
