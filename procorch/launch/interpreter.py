"""A process through `multiprocess`, a fresh interpreter (start method "spawn"), and no more.

Differences from a plain ``multiprocess.Process``, each for a reason:

* The user's main script is not run again in the child: what a factory needs of it travels with
  the factory. So scripts need no ``__main__`` guard.
* The child does not load `multiprocess`, and with it dill, before it needs them (`first_call`).
* No resource tracker is started: our processes share nothing it would track, and it would stay
  behind as a process of ours.
* No sentinel pipes: a pidfd tells of the death, and two descriptors a process are saved.
* What the child is to read lies in memory, not in a pipe: a long command line (it is sent along)
  would fill a pipe, and the monitor would wait for the child to read it.
* What procorch needs is found before files of the user that are called the same, in the working
  directory (``-P``) and elsewhere.
* The parent's standard streams are not flushed: they may be blocked, the monitor may not.
* `multiprocess` is not told of its child: it would reap it behind our back with the next start,
  lose the exit status to a race with us, and wait for it without limit at interpreter exit.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from multiprocess import process, spawn, util

from procorch.launch import first_call


class Child:
    """A fresh interpreter that calls one function.

    Args:
        name: shown at the end of its command line.
        target: the function, as ``"module:name"``: the parent need not import it.
        args: its arguments.
        passed: descriptors that the child gets, under the same numbers.
    """

    def __init__(self, name: str, target: str, args: Sequence[Any], passed: Sequence[int]) -> None:
        self.pid: int
        self._name = name
        self._call = (target, args)
        self._passed = passed
        self._code: int | None = None

    def launch(self) -> int:
        """Start it; see the head of this module.

        Returns:
            Its process id.
        """
        # Not the working folder, which the child inherits, and which may be deleted.
        path = [each or process.ORIGINAL_DIR or "" for each in sys.path]
        told = first_call.written(os.getpid(), path, *self._call)
        try:
            flags = util._args_from_interpreter_flags()
            if "-P" not in flags:
                flags.append("-P")
            command = [*flags, "-c", first_call.CODE, str(told), self._name]
            executable = spawn.get_executable()
            # Until the child has a session of its own, Ctrl-C at the terminal would end it. It
            # inherits the mask and opens it once it has left the terminal's process group.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                self.pid = util.spawnv_passfds(
                    executable, [executable, *command], [*self._passed, told]
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        finally:
            os.close(told)
        return self.pid

    def join(self) -> None:
        """Wait for its end, and reap it."""
        self._wait(0)

    def reap(self) -> int | None:
        """Exit status of one that has ended; None when somebody else took it (``waitpid(-1)``)."""
        return self._wait(os.WNOHANG)

    def _wait(self, how: int) -> int | None:
        if self._code is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, how)
                if pid:
                    self._code = os.waitstatus_to_exitcode(status)
        return self._code
