"""The portable launcher: each worker is a new interpreter."""

from __future__ import annotations

import os
import signal

from procorch.launch.base import Caps, Sink, Spec, Watcher
from procorch.launch.endpoints import Endpoints
from procorch.launch.interpreter import Child
from procorch.launch.process import LocalProcess
from procorch.wire.frame import Kind


class SpawnLauncher:
    """Starts workers as new interpreters, about 0.1 s each.

    If a worker dies by itself, its child processes that have left its process group go on running:
    init has adopted them. `ZygoteLauncher` finds and kills them.

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
        with Endpoints(capture=spec.capture) as ends:
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
        worker.launched(pid, pidfd, child.reap)
        worker.send(Kind.INIT, 0, spec.init_head, [spec.factory])
        return worker

    def retire(self, release: int) -> None:
        """See `Launcher.retire`: each worker loads its code from disk."""

    def close(self) -> None:
        """See `Launcher.close`: it has no resources."""
