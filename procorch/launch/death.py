"""A process on this machine and what happens when it dies, in this order.

1. Its pidfd becomes readable. Nothing else counts as a death, the end of its stream neither.
2. Its parent kills the rest of its process group, while its pid is still taken: the process is a
   zombie until it is reaped, so no other group can have that number. Then its parent reaps it. The
   parent is this process or the zygote, which then tells the exit status (`ended`).
3. What it wrote in life is read from its pipes and its socket.
4. Its exit is reported, once; everything that it had here is closed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable

import psutil

from procorch.errors.texts import signal_name
from procorch.launch.base import Cause, ExitInfo, Watcher, Where

_STATUS_TIMEOUT = 2.0
"""Seconds from a worker's death until its exit status counts as unknown: the zygote has not told
it, because somebody has stopped the zygote. Callers do not wait longer for an error."""

_KILLED_TIMEOUT = 0.2
"""The same after a SIGKILL of ours, which tells the status as well."""


def has_ended(pidfd: int, timeout: float = 0.0) -> bool:
    """Whether a process ends within ``timeout`` seconds, or has ended."""
    poll = select.poll()  # `select.select` refuses descriptors from 1024 on
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


class WatchedProcess(ABC):
    """A process that is watched through its pidfd, signalled through it, and reported when it ends.

    It exists before its process does; a signal is then delivered at birth.
    """

    def __init__(self, loop: Watcher) -> None:
        self.where: Where | None = None
        self._loop = loop
        self._pidfd = -1
        self._reap: Callable[[], int | None] | None = None
        self._owed: signal.Signals | None = None
        self._detail: str | None = None
        self._killed = False
        self._dead = False
        self._gone = False

    @abstractmethod
    def _begin(self, where: Where) -> None:
        """It lives: begin to read what it writes."""

    @abstractmethod
    def _stop_reading(self) -> None:
        """Do not watch what it writes any more."""

    @abstractmethod
    def _drain(self) -> None:
        """Hand in all that it wrote in life."""

    @abstractmethod
    def _complete(self, info: ExitInfo) -> ExitInfo:
        """Its exit, with what its status page says about it."""

    @abstractmethod
    def _close(self) -> None:
        """Close what this process has in common with it."""

    @abstractmethod
    def _report(self, info: ExitInfo) -> None:
        """Tell that it is gone."""

    def born(self, pid: int, pidfd: int, reap: Callable[[], int | None] | None = None) -> None:
        """Its process exists.

        Args:
            pidfd: now owned by this object.
            reap: gives the exit status once it has ended; None: `ended` will be called with it.
        """
        if self._gone:  # killed before it was born, and reported so
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
            return
        self.where = Where(pid)
        self._pidfd = pidfd
        self._reap = reap
        self._loop.watch(pidfd, self._died)
        self._begin(self.where)
        if self._owed is not None:
            self.kill(self._owed)

    def kill(self, signum: signal.Signals) -> None:
        """See `WorkerProcess.kill`: the process, its group, and what has left the group (N8)."""
        if self.where is None:
            self._owed = signum
            if signum == signal.SIGKILL:
                # Not from here: whoever kills is in the middle of something.
                self._loop.call_later(0, self._killed_unborn)
        elif self._alive():
            self._killed = self._killed or signum == signal.SIGKILL
            pid = self.where.pid
            strays: list[psutil.Process] = []
            if signum == signal.SIGKILL:
                with contextlib.suppress(psutil.Error):
                    strays = psutil.Process(pid).children(recursive=True)
            self._signal(signum)
            if signum == signal.SIGTERM:
                self._signal(signal.SIGCONT)
            # Not yet a group of its own if it is only just starting.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signum)
            for stray in strays:
                with contextlib.suppress(psutil.Error):  # psutil checks the start time first
                    stray.send_signal(signum)

    def _alive(self) -> bool:
        """Whether its pid is still its own: the zygote may have reaped it before we were told."""
        return not self._gone and self._pidfd >= 0 and not has_ended(self._pidfd)

    def _signal(self, signum: int) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signum)

    def _died(self) -> None:
        self._dead = True
        self._loop.unwatch(self._pidfd)
        if self._reap is None:
            timeout = _KILLED_TIMEOUT if self._killed else _STATUS_TIMEOUT
            self._loop.call_later(timeout, self._status_unknown)
        elif self.where is not None:
            if self._detail is None:  # a zombie of ours
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.where.pid, signal.SIGKILL)
            self.ended(self._reap(), detail=self._detail)

    def _status_unknown(self) -> None:
        known = -signal.SIGKILL if self._killed else None
        self.ended(known, detail="its zygote does not tell how")

    def ended(
        self, code: int | None, *, detail: str | None = None, peak_rss: int | None = None
    ) -> None:
        """It has ended and is reaped: hand in what it wrote, then report.

        Args:
            code: like ``Popen.returncode``; None: nobody knows.
            detail: what its parent has to say about it.
            peak_rss: the most memory it held at a time, in bytes.
        """
        if self._gone:
            return
        self._forget()
        self._drain()
        info = ExitInfo(
            Cause.SIGNAL if code is not None and code < 0 else Cause.EXIT,
            code=code if code is None or code >= 0 else None,
            signal=signal_name(-code) if code is not None and code < 0 else None,
            detail=detail,
            peak_rss=peak_rss,
        )
        info = self._complete(info)
        self._release()
        self._report(info)

    def refused(self, why: str) -> None:
        """There will be no process."""
        self._never_born(ExitInfo(Cause.START_FAILED, detail=why))

    def _killed_unborn(self) -> None:
        """It was killed before there was a process to kill, and must not wait for a zygote that
        may be stuck. If one does come, it finds its socket closed and is killed (`born`)."""
        if self.where is None:
            self._never_born(ExitInfo(Cause.SIGNAL, signal="SIGKILL", detail="before it was born"))

    def _never_born(self, info: ExitInfo) -> None:
        if not self._gone:
            self._forget()
            self._release()
            self._report(info)

    def orphaned(self, detail: str) -> None:
        """Its parent is gone, so nobody will tell its exit status; the kernel has killed it."""
        if self._dead or self._pidfd < 0:
            self.ended(None, detail=detail)
        else:
            self._reap = lambda: None
            self._detail = detail

    def let_go(self) -> None:
        """Nobody waits for its end any more."""
        if not self._gone:
            self._forget()
            self._release()

    def _forget(self) -> None:
        """From now on nothing that it does counts."""
        self._gone = True
        self._loop.unwatch(self._pidfd)
        self._stop_reading()

    def _release(self) -> None:
        self._close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
