"""A worker reaps the orphans that it adopts, and no child of its agent's code (N20).

A worker is a subreaper, so what its subprocesses leave behind becomes its child, and stays a zombie
until it is reaped. The kernel does not say which children were adopted. So it is concluded:

* A child that Python code makes is noted when it is made, whichever function makes it, and is left
  to that code.
* A child of another thread is on another list of the kernel. Adopted ones are on the main thread's.
* An orphan is older than the death that made it one. A child that has started after the last
  death among the children was made by C code, and is left to it as well.

What remains to be taken wrongly is a child of C code in the main thread, while subprocesses end.

It happens in the handler of SIGCHLD, and after a request in which children were made, for the agent
may have set another handler.
"""

from __future__ import annotations

import _posixsubprocess
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")


class Reaper:
    """Reaps adopted children of this process; made in its main thread."""

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._own: set[int] = set()
        self._dead: set[int] = set()  # of those: whose end has been seen
        self._before: dict[int, set[int]] = {}  # children of a thread that forks, by thread
        self._making = 0  # children that the main thread is about to have made
        self._missed = False
        self._blind = False
        self._last_death = 0

    def install(self) -> None:
        """Watch from now on."""
        places: tuple[tuple[Any, str], ...] = (
            (os, "posix_spawn"),
            (os, "posix_spawnp"),
            (_posixsubprocess, "fork_exec"),
            (subprocess, "_fork_exec"),
        )
        for place, name in places:
            setattr(place, name, self._noting(getattr(place, name)))
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._after_fork,
            after_in_child=self._stop,
        )
        signal.signal(signal.SIGCHLD, self._child_ended)
        signal.siginterrupt(signal.SIGCHLD, False)

    def request_ended(self) -> None:
        """Reap what was left while the agent had a handler of SIGCHLD of its own."""
        if self._own:
            self.look()

    def look(self) -> None:
        """Reap adopted children that have ended."""
        if self._blind:
            return
        try:
            listed = _children(os.getpid())
        except OSError:  # no descriptor left: with the next death
            return
        own, now = self._own, int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)
        for pid in tuple(own):
            ended = _has_ended(pid)
            if ended is not False and pid not in self._dead:
                self._dead.add(pid)
                self._last_death = now
            if ended is None:
                own.discard(pid)
                self._dead.discard(pid)
        for pid in listed - own:
            started = _started(pid)
            if started > self._last_death:
                own.add(pid)
            elif started < self._last_death:
                with contextlib.suppress(ChildProcessError):
                    if os.waitpid(pid, os.WNOHANG)[0]:
                        self._last_death = now

    def _child_ended(self, signum: int, frame: object) -> None:
        if self._making:
            self._missed = True  # It may be the one that is not noted yet.
        else:
            self.look()

    def _noting(self, make: Callable[..., int]) -> Callable[..., int]:
        def made(*args: Any, **kwargs: Any) -> int:
            self._begin()
            try:
                pid = make(*args, **kwargs)
                self._own.add(pid)
                return pid
            finally:
                self._finish()

        return made

    def _before_fork(self) -> None:
        self._begin()
        with contextlib.suppress(OSError):
            self._before[threading.get_ident()] = _children(threading.get_native_id())

    def _after_fork(self) -> None:
        before = self._before.pop(threading.get_ident(), None)
        try:
            after = _children(threading.get_native_id())
        except OSError:
            before = None
        if before is None:
            self._blind = True  # Which is the new one cannot be known.
        else:
            self._own |= after - before
        self._finish()

    def _begin(self) -> None:
        if threading.get_ident() == self._main:
            self._making += 1

    def _finish(self) -> None:
        if threading.get_ident() == self._main:
            self._making -= 1
            if not self._making and self._missed:
                self._missed = False
                self.look()

    def _stop(self) -> None:
        """In a fork, which adopts nobody."""
        self._blind = True
        if signal.getsignal(signal.SIGCHLD) == self._child_ended:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _children(thread: int) -> set[int]:
    with open(f"/proc/self/task/{thread}/children", "rb") as listed:
        return {int(pid) for pid in listed.read().split()}


def _has_ended(pid: int) -> bool | None:
    """Whether a child has ended and is not reaped; None: it is no child (any more)."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return None


def _started(pid: int) -> int:
    """When a process started, in clock ticks since the system did; 0: it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[19])
    except OSError:
        return 0
