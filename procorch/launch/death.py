"""A process on this machine and what happens when it dies, in this order.

1. Its pidfd becomes readable. Nothing else counts as a death, also not the end of its stream.
2. Its parent kills the rest of its process group while it is a zombie, so that no other group can
   have that number. Then its parent reaps it. The parent is this process or the zygote, which then
   reports the exit status (`ended`).
3. This process reads the rest of its output from the pipes and the socket.
4. This process reports its exit, once, and closes everything that belongs to it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from procorch.errors.texts import signal_name
from procorch.launch.base import Cause, ExitInfo, Watcher, Where

if TYPE_CHECKING:
    import psutil

_STATUS_TIMEOUT = 2.0
"""Seconds to wait for the exit status of a dead worker. The zygote does not report it if it was
stopped by a signal; callers must not wait for ever."""

_KILLED_TIMEOUT = 0.2
"""The same after procorch has sent SIGKILL, from which the status is known as well."""


def has_ended(pidfd: int, timeout: float = 0.0) -> bool:
    """Whether a process ends within ``timeout`` seconds, or has ended."""
    poll = select.poll()  # `select.select` refuses descriptors from 1024 on
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


class WatchedProcess(ABC):
    """A process that is watched and signalled through its pidfd, and reported when it ends.

    The object exists before the process: a signal sent meanwhile is delivered at the launch.
    """

    def __init__(self, loop: Watcher) -> None:
        self.where: Where | None = None
        self._loop = loop
        self._pidfd = -1
        self._reap: Callable[[], int | None] | None = None
        self._pending_signal: signal.Signals | None = None
        self._detail: str | None = None
        self._killed = False
        self._strays: list[psutil.Process] = []
        self._dead = False
        self._gone = False

    @abstractmethod
    def _begin(self, where: Where) -> None:
        """The process runs: begin to read its output."""

    @abstractmethod
    def _stop_reading(self) -> None:
        """Stop watching its output."""

    @abstractmethod
    def _drain(self) -> None:
        """Read and report the rest of its output."""

    @abstractmethod
    def _complete(self, info: ExitInfo) -> ExitInfo:
        """Add the facts from its status page to ``info``."""

    @abstractmethod
    def _close(self) -> None:
        """Close the endpoints shared with the process."""

    @abstractmethod
    def _report(self, info: ExitInfo) -> None:
        """Report that it has ended."""

    def launched(self, pid: int, pidfd: int, reap: Callable[[], int | None] | None = None) -> None:
        """The process exists.

        Args:
            pidfd: owned by this object from now on.
            reap: returns the exit status after the end; None: `ended` will be called with it.
        """
        if self._gone:  # killed before the launch, and reported as such
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
            return
        self.where = Where(pid)
        self._pidfd = pidfd
        self._reap = reap
        self._loop.watch(pidfd, self._died)
        self._begin(self.where)
        if self._pending_signal is not None:
            self.kill(self._pending_signal)

    def kill(self, signum: signal.Signals) -> None:
        """See `WorkerProcess.kill`: the process, its group, and descendants outside it (N8)."""
        if self.where is None:
            self._pending_signal = signum
            if signum == signal.SIGKILL:
                # Not at once: the caller is in the middle of a step.
                self._loop.call_later(0, self._killed_before_launch)
        elif self._alive():
            self._killed = self._killed or signum == signal.SIGKILL
            pid = self.where.pid
            without_zygote = self._reap is not None
            strays = _descendants(pid) if signum == signal.SIGKILL or without_zygote else []
            self._signal(signum)
            if signum == signal.SIGTERM:
                self._signal(signal.SIGCONT)
                # Once it is dead, nobody knows that they were its. The zygote, which has no
                # `reap`, adopts and kills them; without one that is for `_died`.
                self._strays, strays = strays, []
            # It has no group of its own yet if it is only just starting.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signum)
            if strays:
                _signal_all(strays, signum)

    def _alive(self) -> bool:
        """Whether its pid is still its own: the zygote may have reaped it already."""
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
            if self._detail is None:  # a zombie of this process
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.where.pid, signal.SIGKILL)
            _signal_all(self._strays, signal.SIGKILL)
            self.ended(self._reap(), detail=self._detail)

    def _status_unknown(self) -> None:
        known = -signal.SIGKILL if self._killed else None
        self.ended(known, detail="the zygote did not report its exit status")

    def ended(
        self, code: int | None, *, detail: str | None = None, peak_rss: int | None = None
    ) -> None:
        """It has ended and is reaped: report the rest of its output, then its exit.

        Args:
            code: like ``Popen.returncode``; None: unknown.
            detail: further facts from its parent.
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
        """The process could not be started."""
        self._end_without_process(ExitInfo(Cause.START_FAILED, detail=why))

    def _killed_before_launch(self) -> None:
        """It was killed before its launch: report the end now, because the zygote may be stuck. A
        process that is launched later finds its socket closed and is killed (`launched`)."""
        if self.where is None:
            self._end_without_process(
                ExitInfo(
                    Cause.SIGNAL,
                    signal="SIGKILL",
                    detail="it was killed before its process started",
                )
            )

    def _end_without_process(self, info: ExitInfo) -> None:
        if not self._gone:
            self._forget()
            self._release()
            self._report(info)

    def orphaned(self, detail: str) -> None:
        """Its parent has died: the kernel kills it, and its exit status stays unknown."""
        if self._dead or self._pidfd < 0:
            self.ended(None, detail=detail)
        else:
            self._reap = lambda: None
            self._detail = detail

    def abandon(self) -> None:
        """Stop watching it, and do not report its end."""
        if not self._gone:
            self._forget()
            self._release()

    def _forget(self) -> None:
        """Ignore it from now on."""
        self._gone = True
        self._loop.unwatch(self._pidfd)
        self._stop_reading()

    def _release(self) -> None:
        self._close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _descendants(pid: int) -> list[psutil.Process]:
    import psutil  # slow to import, and only needed where something is killed

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _signal_all(processes: list[psutil.Process], signum: signal.Signals) -> None:
    import psutil

    for process in processes:
        with contextlib.suppress(psutil.Error):  # psutil checks the start time first
            process.send_signal(signum)
