"""The parent's side of a branch: a zygote that is a fork of another one, its root.

A branch imports the modules of some factories and then serves like a root (`importing`). Until it
serves, its workers wait here. If it cannot serve them, the root forks them, and they import the
modules for themselves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from typing import Protocol

from procorch.launch.base import Code, Watcher
from procorch.launch.forkserver import protocol
from procorch.launch.forkserver.zygote import Forkable, Zygote, close_all, how_it_ended

_log = logging.getLogger("procorch")

_STATUS_TIMEOUT = 2.0
"""Seconds to wait for the exit status of a branch, which its root reports."""


class Trunk(Protocol):
    """What a branch needs of its root."""

    def fork(self, command: protocol.Command, process: Forkable, passed: list[int]) -> None:
        """Fork a worker in place of the branch."""
        ...

    def cannot_branch(self, code: Code) -> None:
        """The modules of ``code`` must be imported by workers from now on."""
        ...


class Branch(Zygote):
    """One branch.

    Args:
        code: what it imports.
        control: the socket to it.

    Attributes:
        dead: no further worker is forked from it.
    """

    dead: bool

    def __init__(self, root: Trunk, code: Code, control: socket.socket, loop: Watcher) -> None:
        super().__init__(control, loop)
        self._root = root
        self._code = code
        self._held: dict[int, tuple[protocol.Command, Forkable, list[int]]] = {}
        self._ended = False
        self._unwanted = False

    def fork(self, command: protocol.Command, process: Forkable, passed: list[int]) -> None:
        """See `Zygote.fork`."""
        if self.serves:
            super().fork(command, process, passed)
        else:
            self._held[command.worker] = command, process, passed

    def forget(self, number: int) -> None:
        """See `Zygote.forget`. A branch that imports modules for nobody is killed: it may hang."""
        if number in self._held:
            close_all(self._held.pop(number)[2])
            if not self._held:
                self.dead = self._unwanted = True
                self._kill()

    def holds(self, number: int) -> bool:
        """See `Zygote.holds`."""
        return number in self._held

    def _kill(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _take(self, report: protocol.Report, fds: list[int]) -> None:
        if isinstance(report, protocol.Unfit):
            self.dead = True
            if report.why:
                self._root.cannot_branch(self._code)
                _log.warning(
                    "the code of %s comes from disk at each start of its agents, so it belongs to "
                    "no release: %s", report.modules, report.why,
                )  # fmt: skip
            self._hand_over()
            return
        super()._take(report, fds)
        for start in [*self._held.values()]:
            super().fork(*start)
        self._held.clear()

    def _hand_over(self) -> None:
        """Have the root fork the workers that wait."""
        held, self._held = self._held, {}
        for start in held.values():
            self._root.fork(*start)

    # ---- as a process that its root has forked

    def launched(self, pid: int, pidfd: int) -> None:
        """See `Forkable.launched`."""
        if self._ended:
            os.close(pidfd)
            return
        self._pid, self._pidfd = pid, pidfd
        self._loop.watch(pidfd, self._died)
        if self._unwanted:
            self._kill()

    def refused(self, why: str) -> None:
        """See `Forkable.refused`: the root refuses its workers as well, and they report why."""
        self.ended(None)

    def _died(self) -> None:
        self._loop.unwatch(self._pidfd)
        self.dead = True
        self._loop.call_later(_STATUS_TIMEOUT, lambda: self.ended(None))

    def ended(self, code: int | None, *, peak_rss: int | None = None) -> None:
        """See `Forkable.ended`."""
        if not self._ended:
            self._readable()
            self._end(f"its zygote (pid {self._pid}) {how_it_ended(code)}")

    def orphaned(self, detail: str) -> None:
        """See `Forkable.orphaned`."""
        if not self._ended:
            for _, process, passed in self._held.values():
                close_all(passed)
                process.orphaned(detail)
            self._held.clear()
            self._end(detail)

    def abandon(self) -> None:
        """See `Forkable.abandon`."""
        if not self._ended:
            self.dead = self._ended = True
            for _, process, passed in [*self._held.values()]:
                close_all(passed)
                process.abandon()
            self._held.clear()
            self._abandon_all()
            self._release()

    def _end(self, detail: str) -> None:
        self.dead = self._ended = True
        self._lost(detail)
        self._hand_over()
