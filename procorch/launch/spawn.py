"""Workers through `multiprocess`, a fresh interpreter each (start method "spawn").

Differences from a plain ``multiprocess.Process``, each for a reason:

* The user's main script is not run again in the worker: what a factory needs of it travels with
  the factory. So scripts need no ``__main__`` guard.
* No resource tracker is started: workers share nothing it would track, and it would stay behind
  as a process of ours.
* No sentinel pipes: the pidfd tells of the death, and two descriptors a worker are saved.
* What the child is to read lies in memory, not in a pipe: a long command line (it is sent along)
  would fill a pipe, and the monitor would wait for the child to read it.
* The parent's standard streams are not flushed: they may be blocked, the monitor may not.
* `multiprocess` is not told of its child: it would reap it behind our back with the next start, lose
  the exit status to a race with us, and wait for it without limit at interpreter exit.
"""

from __future__ import annotations

import io
import os
import signal
import socket

from multiprocess import context, popen_spawn_posix, reduction, spawn, util

from procorch.launch.base import Caps, Sink, Spec, Watcher
from procorch.launch.local import LocalProcess
from procorch.wire.frame import Kind
from procorch.wire.status import StatusPage


class _Popen(popen_spawn_posix.Popen):  # type: ignore[misc]
    def __init__(self, process_obj: _Process) -> None:
        self.returncode: int | None = None
        self.sentinel = self.finalizer = None
        self._launch(process_obj)

    def _launch(self, process_obj: _Process) -> None:
        prep_data = spawn.get_preparation_data(process_obj.name)
        prep_data.pop("init_main_from_name", None)
        prep_data.pop("init_main_from_path", None)
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
            self.pid = util.spawnv_passfds(
                spawn.get_executable(), command, [*process_obj.passed, fd]
            )


class _Process(context.SpawnProcess):  # type: ignore[misc]
    """``passed``: descriptors that the child gets, under the same numbers."""

    def __init__(self, name: str, sock: int, page: int) -> None:
        super().__init__(name=name)
        self.passed = [sock, page]
        self._parent = os.getpid()

    def start(self) -> None:
        """Start it, and no more than that: see the head of this module."""
        self._popen = _Popen(self)

    def run(self) -> None:
        """In the worker."""
        from procorch.worker.main import main

        main(*self.passed, parent=self._parent)


class SpawnLauncher:
    """Starts workers in fresh interpreters. About 0.1 s each; `multiprocess` everywhere it runs.

    Args:
        max_frame: the largest frame accepted from a worker, in bytes.
    """

    caps = Caps(signals=True, exit_status=True, fd_passing=True, remote=False)

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame

    def open(self, loop: Watcher, sink: Sink) -> None:
        """See `Launcher.open`."""
        self._loop = loop
        self._sink = sink

    def start(self, spec: Spec) -> LocalProcess:
        """See `Launcher.start`."""
        ours, theirs = socket.socketpair()
        page_fd = -1
        page = process = None
        try:
            page_fd = StatusPage.create()
            page = StatusPage(page_fd)
            process = _Process(f"procorch-{spec.name}", theirs.fileno(), page_fd)
            process.start()
            worker = LocalProcess(
                spec, process.pid, ours, page, lambda: _reap(process), self._max_frame,
                self._loop, self._sink,
            )  # fmt: skip
        except BaseException:
            ours.close()
            if page is not None:
                page.close()
            if process is not None and process.pid is not None:
                os.kill(process.pid, signal.SIGKILL)
                process.join()
            raise
        finally:
            theirs.close()
            if page_fd >= 0:
                os.close(page_fd)
        self._sink.on_started(worker, worker.where)
        worker.send(Kind.INIT, 0, spec.init_head, [spec.factory])
        return worker

    def close(self) -> None:
        """See `Launcher.close`: nothing is held."""


def _reap(process: _Process) -> int | None:
    """Exit status; None when somebody else in this process took it (``waitpid(-1)``)."""
    code: int | None = process.exitcode
    return code
