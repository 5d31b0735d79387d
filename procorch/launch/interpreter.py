"""Starts a new interpreter with helpers of `multiprocess` (start method "spawn").

Differences from ``multiprocess.Process``, each for a reason:

* The child does not run the user's main script again: the factory includes what it needs of it. So
  scripts need no ``__main__`` guard.
* The child does not load `multiprocess` and dill before it needs them (`first_call`).
* There is no resource tracker: the processes share nothing that it would track, and it would stay
  as a further process.
* There are no sentinel pipes: the pidfd reports the death, which saves two descriptors.
* The child reads its call from memory, not from a pipe: a long command line, which is part of it,
  could fill a pipe, and the monitor would wait for the child.
* Modules that procorch needs are found before files of the user with the same names, in the working
  directory (``-P``) and elsewhere.
* The parent's standard streams are not flushed: they may block, and the monitor must not.
* `multiprocess` does not know the child. Otherwise it would reap it at the next start, which loses
  the exit status, and wait for it without limit at the exit of the interpreter.
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
    """A new interpreter that calls one function.

    Args:
        name: shown at the end of its command line.
        target: the function, as ``"module:name"``; the parent does not import it.
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
        """Start it; see the top of this module.

        Returns:
            Its process id.
        """
        # Not the working directory: the child inherits it, and it may have been deleted.
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
        """The exit status after its end; None if other code took it (``waitpid(-1)``)."""
        return self._wait(os.WNOHANG)

    def _wait(self, how: int) -> int | None:
        if self._code is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, how)
                if pid:
                    self._code = os.waitstatus_to_exitcode(status)
        return self._code
