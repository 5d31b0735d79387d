"""The parent's side of a zygote that is a new interpreter, one for each release (N19)."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
from collections.abc import Sequence

from procorch.launch.base import Code, Watcher
from procorch.launch.death import has_ended
from procorch.launch.forkserver import protocol
from procorch.launch.forkserver.branch import Branch
from procorch.launch.forkserver.zygote import Zygote, how_it_ended
from procorch.launch.interpreter import Child
from procorch.wire import environment

_LAST_WAIT = protocol.LAST_WAIT + 1.0
"""Seconds that a zygote without workers gets to end its descendants and itself."""


class Root(Zygote):
    """A zygote that is a new interpreter.

    Args:
        preload: modules that it imports before the first fork.
        sys_path: its ``sys.path``.
    """

    dead: bool

    def __init__(self, preload: Sequence[str], sys_path: Sequence[str], loop: Watcher) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            fd = theirs.fileno()
            args = [fd, list(preload), list(sys_path), os.getpid()]
            self._child = Child(
                "procorch-zygote", "procorch.launch.forkserver.server:main", args, [fd]
            )
            pid = self._child.launch()
            try:
                pidfd = os.pidfd_open(pid)
            except OSError:
                os.kill(pid, signal.SIGKILL)
                self._child.join()
                raise
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        super().__init__(ours, loop)
        self._pid, self._pidfd = pid, pidfd
        self._branches: dict[Code, Branch] = {}
        self._unfit: set[Code] = set()
        loop.watch(pidfd, self._died)

    @property
    def is_overdue(self) -> bool:
        """Whether its deadline has passed: it ends itself then, or the kernel ends it."""
        if self.until == math.inf:
            return False
        from procorch.launch.forkserver import deadline  # only other machines need it

        return deadline.now() >= self.until

    @property
    def has_code(self) -> bool:
        """Whether modules of factories were loaded in a branch of it."""
        return bool(self._branches)

    def place(self, code: Code, number: int, outputs: Sequence[int]) -> Zygote:
        """The zygote for workers with that code: itself or a branch, which is forked if need be.

        Args:
            number: a number for the branch that no other fork has.
            outputs: standard output and standard error for what the modules print; they stay open.

        Raises:
            OSError: there is no descriptor left.
        """
        if not code.imports or code in self._unfit:
            return self
        branch = self._branches.get(code)
        if branch is None or branch.dead:
            branch = self._branches[code] = self._fork_branch(code, number, outputs)
        return branch

    def _fork_branch(self, code: Code, number: int, outputs: Sequence[int]) -> Branch:
        head = protocol.BranchHead(
            code.imports, list(code.sys_path), environment.gather(), dict(code.env), code.cwd,
            os.getpid(),
        )  # fmt: skip
        with contextlib.ExitStack() as undo:
            memory = os.memfd_create("procorch-branch", os.MFD_CLOEXEC)
            undo.callback(os.close, memory)
            with open(memory, "wb", closefd=False) as file:
                file.write(protocol.encode(head))
            os.lseek(memory, 0, os.SEEK_SET)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(ours.close)
            undo.callback(theirs.close)
            passed = [os.dup(theirs.fileno()), memory]
            undo.callback(os.close, passed[0])
            for fd in outputs:
                passed.append(os.dup(fd))
                undo.callback(os.close, passed[-1])
            undo.pop_all()
            theirs.close()
        branch = Branch(self, code, ours, self._loop)
        self.fork(protocol.Branch(number), branch, passed)
        return branch

    def cannot_branch(self, code: Code) -> None:
        """The modules of ``code`` cannot be imported in a branch: workers import them."""
        self._unfit.add(code)

    def _died(self) -> None:
        if self.dead:
            return
        self.dead = True
        self._readable()
        how = how_it_ended(self._child.reap())
        if self.is_overdue:
            how += ", because its lease had ended"
        self._lost(f"its zygote (pid {self._pid}) {how}")

    def retire(self) -> None:
        """End it, without waiting for that; it has no workers."""
        if self.dead:
            return
        if self.serves:
            with contextlib.suppress(OSError):  # it is dying
                self._control.shutdown(socket.SHUT_WR)
        else:  # it loads modules, and does not read its socket
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """End it and wait for its end; no caller waits for its workers any more."""
        if self.dead:
            return
        self.dead = True
        self._abandon_all()
        pidfd, self._pidfd = self._pidfd, -1
        self._release()
        with contextlib.suppress(ProcessLookupError):
            # A zygote that still loads modules does not read its socket: it is killed. One that
            # was stopped by a signal is continued, so that it can read it.
            last = signal.SIGCONT if self.serves else signal.SIGKILL
            signal.pidfd_send_signal(pidfd, last)
            if not has_ended(pidfd, _LAST_WAIT):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        self._child.join()
        self._loop.unwatch(pidfd)
        os.close(pidfd)
