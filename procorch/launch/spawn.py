"""The portable launcher: each worker a fresh interpreter through `multiprocess`."""

from __future__ import annotations

import os
import signal

from procorch.launch.base import Caps, Sink, Spec, Watcher
from procorch.launch.endpoints import Ends
from procorch.launch.interpreter import Child
from procorch.launch.process import LocalProcess
from procorch.wire.frame import Kind


class SpawnLauncher:
    """Starts workers in fresh interpreters, about 0.1 s each.

    What a worker that dies by itself has started and moved out of its process group stays behind:
    it is init's by then. `ZygoteLauncher` finds it.

    Args:
        max_frame: the largest frame accepted from a worker, in bytes.
    """

    caps: Caps = Caps(signals=True, exit_status=True, fd_passing=True, remote=False, direct=True)

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame

    def open(self, loop: Watcher, sink: Sink) -> None:
        """See `Launcher.open`."""
        self._loop = loop
        self._sink = sink

    def start(self, spec: Spec) -> LocalProcess:
        """See `Launcher.start`."""
        with Ends(capture=spec.capture) as ends:
            args = [*ends.passed, os.getpid()]
            child = Child("procorch-worker", "procorch.worker.main:main", args, ends.passed)
            pid = child.launch()
            try:
                pidfd = os.pidfd_open(pid)
            except OSError:
                os.kill(pid, signal.SIGKILL)
                child.join()
                raise
            worker = LocalProcess(spec, ends, self._max_frame, self._loop, self._sink)
        worker.born(pid, pidfd, child.reap)
        worker.send(Kind.INIT, 0, spec.init_head, [spec.factory])
        return worker

    def close(self) -> None:
        """See `Launcher.close`: nothing is held."""
