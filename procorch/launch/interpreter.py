"""A process through `multiprocess`, a fresh interpreter (start method "spawn"), and no more.

Differences from a plain ``multiprocess.Process``, each for a reason:

* The user's main script is not run again in the child: what a factory needs of it travels with
  the factory. So scripts need no ``__main__`` guard.
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

import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from multiprocess import context, popen_spawn_posix, process, reduction, spawn, util

from procorch.agents.import_path import own_first

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess as _SpawnProcess  # multiprocess has no types
else:
    _SpawnProcess = context.SpawnProcess


class _Popen(popen_spawn_posix.Popen):  # type: ignore[misc]
    def __init__(self, process_obj: Child) -> None:
        self.pid: int
        self.returncode: int | None = None
        self.sentinel = self.finalizer = None
        self._launch(process_obj)

    def _launch(self, process_obj: Child) -> None:
        prep_data = _preparation_data(process_obj.name)
        data = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump(prep_data, data)
            reduction.dump(process_obj, data)
        finally:
            context.set_spawning_popen(None)
        with open(os.memfd_create("procorch-start", os.MFD_CLOEXEC), "wb", buffering=0) as memory:
            memory.write(data.getbuffer())
            memory.seek(0)
            fd = memory.fileno()
            command = spawn.get_command_line(tracker_fd=None, pipe_handle=fd)
            if "-P" not in command[1:]:  # the first one is bytes, which `-bb` compares with none
                command.insert(1, "-P")
            # Until the child has a session of its own, Ctrl-C at the terminal would end it. It
            # inherits the mask and opens it once it has left the terminal's process group.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                self.pid = util.spawnv_passfds(
                    spawn.get_executable(), command, [*process_obj.passed, fd]
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _preparation_data(name: str) -> dict[str, Any]:
    """What the child sets before it does anything.

    Not the main script; nor the working folder, which it inherits, and which may be deleted.
    """
    return {
        "authkey": process.current_process().authkey,
        "name": name,
        "sys_path": own_first(path or process.ORIGINAL_DIR or "" for path in sys.path),
        "sys_argv": sys.argv,
        "start_method": spawn.get_start_method(),
    }


class Child(_SpawnProcess):
    """A fresh interpreter that calls one function.

    Args:
        name: the process's name.
        target: the function, as ``"module:name"``: the parent need not import it.
        args: its arguments.
        passed: descriptors that the child gets, under the same numbers.
    """

    def __init__(self, name: str, target: str, args: Sequence[Any], passed: Sequence[int]) -> None:
        super().__init__(name=name)
        self.passed: list[int] = list(passed)
        self._call = (target, tuple(args))

    def launch(self) -> int:
        """Start it; see the head of this module.

        Returns:
            Its process id.
        """
        self._popen = _Popen(self)
        return self._popen.pid

    def run(self) -> None:
        """In the child."""
        target, args = self._call
        module, _, name = target.partition(":")
        getattr(importlib.import_module(module), name)(*args)

    def reap(self) -> int | None:
        """Exit status of one that has ended; None when somebody else took it (``waitpid(-1)``)."""
        code: int | None = self.exitcode
        return code
