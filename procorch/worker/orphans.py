"""Reaps orphans that this process has adopted, and no child processes of its own code (N20).

A worker is a subreaper: a process that its subprocesses leave behind becomes its child, and stays a
zombie until it is reaped. PID 1 of a container adopts all orphans there. The kernel does not say
which children were adopted, so these rules decide:

* A child that Python code starts is recorded at its start, whichever function starts it. It is left
  to that code.
* The kernel keeps a list of children for each thread. Adopted ones are on that of the main thread.
* An orphan is older than the death that made it one. A child that is older than the last death
  among the children is reaped at once.
* A younger child was left by a descendant further below, or was started by C code. If no child
  exists that could have left it, C code started it, and it is left to that code. Otherwise C code
  has `GRACE` seconds to reap it.

The rules are wrong only for a child of C code in the main thread while subprocesses run.

A worker reaps in the handler of SIGCHLD, and after a request that has started children, because the
agent may have set another handler. PID 1 is the user's program, where a handler could disturb it
(`signal.pause`). So a thread checks there at intervals.
"""

from __future__ import annotations

import _posixsubprocess
import contextlib
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

GRACE = 1.0
"""Seconds that C code has to reap a child that was not recorded."""

_TICKS = os.sysconf("SC_CLK_TCK")


class Reaper:
    """Reaps adopted children of this process.

    Args:
        first: this process is PID 1, which also adopts orphans that its children did not leave.
    """

    def __init__(self, *, first: bool = False) -> None:
        self._main = threading.main_thread().ident
        self._first = first
        self._own: set[int] = set()
        self._dead: set[int] = set()  # those of them that have ended
        self._doubtful: dict[
            int, float | None
        ] = {}  # children, and the time since which they are zombies
        self._begun = 0  # how many children the main thread has begun to start
        self._before: dict[int, set[int]] = {}  # children of a thread before its fork, by thread
        self._making = 0  # how many children the main thread is starting now
        self._missed = False
        self._blind = False
        self._last_death = 0

    def install(self) -> None:
        """Record children from now on. Existing children count as recorded."""
        with contextlib.suppress(OSError):
            self._own |= _children(os.getpid())
        fork_exec = _posixsubprocess.fork_exec
        places: tuple[tuple[Any, str], ...] = (
            (os, "posix_spawn"),
            (os, "posix_spawnp"),
            (_posixsubprocess, "fork_exec"),
        )
        for place, name in places:
            setattr(place, name, self._recording(getattr(place, name)))
        # Looked for after that: where another thread imports it just now, or later, it takes the
        # function that records.
        subprocess: Any = sys.modules.get("subprocess")
        if getattr(subprocess, "_fork_exec", None) is fork_exec:
            subprocess._fork_exec = _posixsubprocess.fork_exec
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._after_fork,
            after_in_child=self._stop,
        )

    def handle(self) -> None:
        """Reap whenever a child ends; call it in the main thread."""
        signal.signal(signal.SIGCHLD, self._child_ended)
        signal.siginterrupt(signal.SIGCHLD, False)

    def request_ended(self) -> None:
        """Reap children that ended while the agent had its own handler of SIGCHLD."""
        if self._own:
            self.look()

    def look(self) -> None:
        """Reap adopted children that have ended."""
        if self._blind:
            return
        begun = self._begun
        try:
            listed = _children(os.getpid())
        except OSError:  # no descriptor left: try again at the next death
            return
        if (
            self._making or begun != self._begun
        ):  # on another thread: a child may not be recorded yet
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
        """Whether a child that is not recorded may be reaped after its end."""
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
            self._missed = True  # It may be the child that is not recorded yet.
        else:
            self.look()

    def _recording(self, make: Callable[..., int]) -> Callable[..., int]:
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
            self._blind = True  # The new child is unknown.
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
        """In a fork of this process, which adopts no orphans."""
        self._blind = True
        if signal.getsignal(signal.SIGCHLD) == self._child_ended:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@functools.cache
def reap_as_first() -> None:
    """For PID 1: reap adopted children from the first call until its end."""
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
    """Whether a child has ended and is not reaped; None: it is not a child (any more)."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return None


def _started(pid: int) -> int:
    """The start time of a process in clock ticks since the boot; 0: it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[19])
    except OSError:
        return 0
