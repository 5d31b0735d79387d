"""The parent's side of one zygote: has processes forked, and learns of their ends."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
from collections import deque
from typing import Protocol

from procorch.errors.texts import signal_name
from procorch.launch.base import Watcher
from procorch.launch.forkserver import protocol

_log = logging.getLogger("procorch")


class Forkable(Protocol):
    """What a zygote forks: a worker or a branch."""

    def launched(self, pid: int, pidfd: int) -> None:
        """The process exists; the ``pidfd`` is owned by this object from now on."""
        ...

    def refused(self, why: str) -> None:
        """The process could not be forked."""
        ...

    def ended(self, code: int | None, *, peak_rss: int | None = None) -> None:
        """It has ended and is reaped; ``code`` like ``Popen.returncode``."""
        ...

    def orphaned(self, detail: str) -> None:
        """Its zygote has died."""
        ...

    def abandon(self) -> None:
        """Stop watching it; nobody waits for it any more."""
        ...


class Zygote:
    """What roots and branches have in common.

    Attributes:
        dead: it has ended, or was closed.
        serves: it has sent a report, so it reads its socket.
        until: its deadline, as far as it has confirmed one; infinite: none (`deadline`).
    """

    def __init__(self, control: socket.socket, loop: Watcher) -> None:
        control.setblocking(False)
        self.dead: bool = False
        self.serves: bool = False
        self.until: float = math.inf
        self._pid = 0
        self._pidfd = -1
        self._control = control
        self._loop = loop
        self._forked: dict[int, Forkable] = {}
        self._waiting: deque[tuple[int, bytes, list[int]]] = deque()
        loop.watch(control.fileno(), self._readable)

    def fork(self, command: protocol.Command, process: Forkable, passed: list[int]) -> None:
        """Fork a process. ``passed``: its descriptors, which this object closes."""
        self._forked[command.worker] = process
        self._waiting.append((command.worker, protocol.encode(command), passed))
        self._flush()

    def renew(self, until: float) -> None:
        """Put off its deadline (`protocol.Renew`)."""
        self._waiting.append((0, protocol.encode(protocol.Renew(0, until)), []))
        self._flush()

    def holds(self, number: int) -> bool:
        """Whether a process waits here, and nobody was told to fork it yet."""
        return False

    def forget(self, number: int) -> None:
        """A process that may wait here was given up."""

    def _flush(self) -> None:
        while self._waiting:
            _, message, passed = self._waiting[0]
            try:
                if passed:
                    socket.send_fds(self._control, [message], passed)
                else:
                    self._control.send(message)
            except BlockingIOError:
                self._loop.watch_writable(self._control.fileno(), self._flush)
                return
            except OSError:
                return  # The zygote is dying, and its end is reported for all that wait here.
            self._waiting.popleft()
            close_all(passed)
        self._loop.unwatch_writable(self._control.fileno())

    def _readable(self) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._control, protocol.MESSAGE, 1)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self._loop.unwatch(self._control.fileno())
                return
            self._take(protocol.decode_report.decode(data), fds)

    def _take(self, report: protocol.Report, fds: list[int]) -> None:
        match report:
            case protocol.Forked(number, pid) if fds:
                self._forked[number].launched(pid, fds[0])
            case protocol.Forked(number, pid):
                # Forked, but there was no descriptor left here for its pidfd.
                self._forked.pop(number).refused("no descriptors left in this process")
                os.kill(pid, signal.SIGKILL)
            case protocol.Refused(number, why):
                self._forked.pop(number).refused(why)
            case protocol.Ended(number, status, peak_rss):
                process = self._forked.pop(number, None)
                if process is not None:
                    process.ended(status, peak_rss=peak_rss)
            case protocol.Renewed(until):
                self.until = until
            case protocol.Warned(module, why):
                _log.warning("preload: module %r is not preloaded: %s", module, why)
                return
        self.serves = True

    def _lost(self, detail: str) -> None:
        """It has ended: release what belongs to it, and report the end of its workers."""
        self._release()
        for process in list(self._forked.values()):
            process.orphaned(detail)
        self._forked.clear()

    def _release(self) -> None:
        self._loop.unwatch(self._control.fileno())
        self._control.close()
        if self._pidfd >= 0:
            self._loop.unwatch(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        while self._waiting:
            close_all(self._waiting.popleft()[2])

    def _abandon_all(self) -> None:
        for process in list(self._forked.values()):
            process.abandon()
        self._forked.clear()


def how_it_ended(code: int | None) -> str:
    """A text to follow the name of a process; ``code`` like ``Popen.returncode``."""
    if code is None:
        return "ended"
    return f"was killed by {signal_name(-code)}" if code < 0 else f"exited with code {code}"


def close_all(fds: list[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)
