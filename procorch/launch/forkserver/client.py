"""The launcher that forks workers from zygotes (docs/explanation/processes.md): the parent's side.

`server` runs in a zygote. A worker costs one fork there, some milliseconds, whatever is loaded. The
first worker of a release starts its zygote, and the first worker with certain modules a branch of
that zygote, which imports them (N19). If a zygote dies, the kernel kills its workers, each of them
is reported with that cause, and the next start of a worker starts a new zygote.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence

from procorch.launch.base import Caps, Sink, Spec, Watcher
from procorch.launch.endpoints import Endpoints
from procorch.launch.forkserver import protocol
from procorch.launch.forkserver.root import Root
from procorch.launch.forkserver.zygote import Zygote
from procorch.launch.process import LocalProcess
from procorch.wire.frame import Kind

_log = logging.getLogger("procorch")


class ForkedProcess(LocalProcess):
    """A worker that a zygote forks.

    Attributes:
        zygote: the zygote that was asked for it; ``number``: how both call it.
    """

    zygote: Zygote | None = None
    number: int = 0

    def kill(self, signum: signal.Signals) -> None:
        """See `WorkerProcess.kill`. While it waits for a branch, there is nothing to be killed."""
        super().kill(signum)
        if self.where is None and self.zygote is not None and self.zygote.holds(self.number):
            self._loop.call_later(0, self._killed_before_launch)

    def _forget(self) -> None:
        super()._forget()
        if self.zygote is not None:
            self.zygote.forget(self.number)


class ZygoteLauncher:
    """Starts workers by forking a process that has everything loaded.

    Args:
        max_frame: the largest frame accepted from a worker, in bytes.
        preload: modules that a zygote imports before the first fork.
        sys_path: its ``sys.path``.
    """

    caps: Caps = Caps(signals=True, exit_status=True, fd_passing=True, remote=False, direct=True)

    def __init__(self, max_frame: int, preload: Sequence[str], sys_path: Sequence[str]) -> None:
        self._max_frame = max_frame
        self._preload = list(preload)
        self._sys_path = list(sys_path)
        self._roots: dict[int, Root] = {}
        self._retired: list[Root] = []
        self._numbers = 0

    def open(self, loop: Watcher, sink: Sink) -> None:
        """See `Launcher.open`."""
        self._loop = loop
        self._sink = sink

    def start(self, spec: Spec) -> LocalProcess:
        """See `Launcher.start`."""
        root = self._root(spec.code.release)
        with Endpoints(capture=spec.capture) as ends:
            zygote = root.place(spec.code, self._number(), ends.passed[2:])
            worker = ForkedProcess(spec, ends, self._max_frame, self._loop, self._sink)
            # The command may have to wait for room in the socket; these are closed after it.
            passed, ends.passed = ends.passed, []
        worker.zygote, worker.number = zygote, self._number()
        zygote.fork(protocol.Start(worker.number), worker, passed)
        worker.send(Kind.INIT, 0, spec.init_head, [spec.factory])
        return worker

    def renew(self, until: float) -> None:
        """Put off the deadline of the first release's zygote, which is started if need be.

        Args:
            until: a time of `deadline.now`.
        """
        self._root(1).renew(until)

    @property
    def is_overdue(self) -> bool:
        """Whether the deadline of that zygote has passed, although it was put off here: it has not
        read that."""
        root = self._roots.get(1)
        return root is not None and root.is_overdue

    def _root(self, release: int) -> Root:
        root = self._roots.get(release)
        if root is None or root.dead:
            if root is not None and root.has_code:
                _log.warning(
                    "the zygote of release %d has died: its code is loaded from disk again", release
                )
            root = self._roots[release] = Root(self._preload, self._sys_path, self._loop)
        return root

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def retire(self, release: int) -> None:
        """See `Launcher.retire`."""
        self._retired = [root for root in self._retired if not root.dead]
        root = self._roots.pop(release, None)
        if root is not None:
            root.retire()
            self._retired.append(root)

    def close(self) -> None:
        """See `Launcher.close`: a zygote ends with its socket."""
        for root in [*self._roots.values(), *self._retired]:
            root.close()
