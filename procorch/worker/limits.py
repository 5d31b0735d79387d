"""What a worker asks of the kernel for itself, first thing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Mapping

from procorch import memory

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


class Meter:
    """Measures one request after the other: cpu, peak memory, page faults.

    The high-water mark of the memory is set back when a request begins (1.3 us), so each is charged
    what it took itself. Reading it through ``ru_maxrss`` costs 0.4 us but shows at least the peak
    of the process that called exec (Linux keeps it: 413 MiB for ``/bin/true`` started by a large
    parent). Whatever does not exceed that inheritance is read from ``/proc/self/status`` (15 us).
    """

    def __init__(self) -> None:
        _set_back()
        shown = self.usage().ru_maxrss * 1024
        self._inherited = shown if shown > memory.peak_rss(os.getpid()) + _BLUR else 0

    def begin(self) -> resource.struct_rusage:
        """What was used before the request that begins now."""
        _set_back()
        return self.usage()

    @staticmethod
    def usage() -> resource.struct_rusage:
        """Now, for `peak_rss` and for differences."""
        return resource.getrusage(resource.RUSAGE_SELF)

    def peak_rss(self, usage: resource.struct_rusage) -> int:
        """The highest resident size since `begin`, in bytes."""
        shown = usage.ru_maxrss * 1024
        return shown if shown > self._inherited else memory.peak_rss(os.getpid())


_BLUR = 1 << 20
"""Bytes by which two ways of asking the kernel for one figure may differ."""


def _set_back() -> None:
    # Opened each time: an agent may close descriptors that it does not know.
    with contextlib.suppress(OSError):  # /proc is read-only: the peak is that of all requests
        fd = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"5")
        finally:
            os.close(fd)
