"""Orphans are reaped by the process that adopts them, and no child of its own code (N20).

A worker is a subreaper, so what its subprocesses leave behind becomes its child, and stays a zombie
until it is reaped. The first process of a container (PID 1) adopts all orphans there. The kernel
does not say which children were adopted. So it is concluded:

* A child that Python code makes is noted when it is made, whichever function makes it, and is left
  to that code.
* A child of another thread is on another list of the kernel. Adopted ones are on the main thread's.
* An orphan is older than the death that made it one. One that is older than the last death among
  the children is reaped at once.
* A younger one was left by a process further below, or was made by C code. Where no child is there
  that it can come from, it was C code, and it is left to it. Otherwise C code gets `GRACE` seconds.

What remains to be taken wrongly is a child of C code in the main thread, while subprocesses run.

In a worker it happens in the handler of SIGCHLD, and after a request in which children were made,
for the agent may have set another handler. PID 1 is the user's program. A handler there could be
in its way (`signal.pause`), so a thread looks now and then.
"""

from __future__ import annotations

import _posixsubprocess
import contextlib
import functools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

GRACE = 1.0
"""Seconds that code which is not noted has for reaping a child of its own."""

_TICKS = os.sysconf("SC_CLK_TCK")


class Reaper:
    """Reaps adopted children of this process.

    Args:
        first: this process is PID 1, which gets orphans that do not come from its children.
    """

    def __init__(self, *, first: bool = False) -> None:
        self._main = threading.main_thread().ident
        self._first = first
        self._own: set[int] = set()
        self._dead: set[int] = set()  # of those: whose end has been seen
        self._doubtful: dict[int, float | None] = {}  # children, and since when they are zombies
        self._begun = 0  # children that the main thread has begun to make
        self._before: dict[int, set[int]] = {}  # children of a thread that forks, by thread
        self._making = 0  # children that the main thread is about to have made
        self._missed = False
        self._blind = False
        self._last_death = 0

    def install(self) -> None:
        """Note from now on which children are made. Those that are there count as made."""
        with contextlib.suppress(OSError):
            self._own |= _children(os.getpid())
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

    def handle(self) -> None:
        """Look whenever a child ends; to be called in the main thread."""
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
        begun = self._begun
        try:
            listed = _children(os.getpid())
        except OSError:  # no descriptor left: with the next death
            return
        if self._making or begun != self._begun:  # on another thread: one may not be noted yet
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
        for pid in self._doubtful.keys() - listed:
            del self._doubtful[pid]
        for pid in listed - own:
            if self._is_adopted(pid):
                with contextlib.suppress(ChildProcessError):
                    if os.waitpid(pid, os.WNOHANG)[0]:
                        self._last_death = now

    def _is_adopted(self, pid: int) -> bool:
        """Whether a child that is not noted may be reaped when it has ended."""
        if pid not in self._doubtful:
            started = _started(pid)
            if started <= self._last_death:
                return started < self._last_death
            if not self._first and not any(_started(other) <= started for other in self._own):
                self._own.add(pid)
                return False
            self._doubtful[pid] = None
        since = self._doubtful[pid]
        if since is None:
            if _has_ended(pid):
                self._doubtful[pid] = time.monotonic()
            return False
        return time.monotonic() - since >= GRACE

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
            self._begun += 1

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


@functools.cache
def reap_as_first() -> None:
    """For PID 1: reap what it adopts, from the first call on, until it ends."""
    reaper = Reaper(first=True)
    reaper.install()

    def look_often() -> None:
        while True:
            time.sleep(GRACE)
            reaper.look()

    threading.Thread(target=look_often, name="procorch-reaper", daemon=True).start()


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
