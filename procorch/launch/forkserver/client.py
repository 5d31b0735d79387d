"""The launcher that forks workers from a zygote (docs/processes.md): the parent's side.

`server` runs in the zygote. A worker costs one fork there, some milliseconds, whatever is
preloaded. The first worker starts the zygote. If the zygote dies, the kernel kills its workers,
each of them is reported with that cause, and the next start of a worker starts a new zygote.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Sequence

from procorch.errors.texts import signal_name
from procorch.launch.base import Caps, Sink, Spec, Watcher
from procorch.launch.death import has_ended
from procorch.launch.endpoints import Endpoints
from procorch.launch.forkserver import server
from procorch.launch.interpreter import Child
from procorch.launch.process import LocalProcess
from procorch.wire.frame import Kind

_log = logging.getLogger("procorch")

_LAST_WAIT = server.LAST_WAIT + 1.0
"""Seconds that a zygote without workers gets to end its descendants and itself."""


class ZygoteLauncher:
    """Starts workers by forking a process that has everything loaded.

    Args:
        max_frame: the largest frame accepted from a worker, in bytes.
        preload: modules that the zygote imports before the first fork.
        sys_path: its ``sys.path``.
    """

    caps: Caps = Caps(signals=True, exit_status=True, fd_passing=True, remote=False, direct=True)

    def __init__(self, max_frame: int, preload: Sequence[str], sys_path: Sequence[str]) -> None:
        self._max_frame = max_frame
        self._preload = list(preload)
        self._sys_path = list(sys_path)
        self._zygote: _Zygote | None = None
        self._number = 0

    def open(self, loop: Watcher, sink: Sink) -> None:
        """See `Launcher.open`."""
        self._loop = loop
        self._sink = sink

    def start(self, spec: Spec) -> LocalProcess:
        """See `Launcher.start`."""
        if self._zygote is None or self._zygote.dead:
            self._zygote = _Zygote(self._preload, self._sys_path, self._loop)
        self._number += 1
        with Endpoints(capture=spec.capture) as ends:
            worker = LocalProcess(spec, ends, self._max_frame, self._loop, self._sink)
            # The command may have to wait for room in the socket; these are closed after it.
            passed, ends.passed = ends.passed, []
        self._zygote.fork(self._number, worker, passed)
        worker.send(Kind.INIT, 0, spec.init_head, [spec.factory])
        return worker

    def close(self) -> None:
        """See `Launcher.close`: the zygote ends with its socket."""
        if self._zygote is not None:
            self._zygote.close()


class _Zygote:
    """One zygote process."""

    def __init__(self, preload: list[str], sys_path: list[str], loop: Watcher) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            fd = theirs.fileno()
            args = [fd, preload, sys_path, os.getpid()]
            self._child = Child(
                "procorch-zygote", "procorch.launch.forkserver.server:main", args, [fd]
            )
            pid = self._child.launch()
            try:
                self._pidfd = os.pidfd_open(pid)
            except OSError:
                os.kill(pid, signal.SIGKILL)
                self._child.join()
                raise
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self.dead = False
        self._serves = False
        self._control = ours
        self._loop = loop
        self._workers: dict[int, LocalProcess] = {}
        self._waiting: deque[tuple[int, list[int]]] = deque()
        loop.watch(ours.fileno(), self._readable)
        loop.watch(self._pidfd, self._died)

    def fork(self, number: int, worker: LocalProcess, passed: list[int]) -> None:
        """Fork a worker. ``passed``: its descriptors, which this object closes."""
        self._workers[number] = worker
        self._waiting.append((number, passed))
        self._flush()

    def _flush(self) -> None:
        while self._waiting:
            number, passed = self._waiting[0]
            try:
                socket.send_fds(self._control, [server.encode(server.Start(number))], passed)
            except BlockingIOError:
                self._loop.watch_writable(self._control.fileno(), self._flush)
                return
            except OSError:
                return  # The zygote is dying; `_died` reports all workers that wait here.
            self._waiting.popleft()
            for fd in passed:
                os.close(fd)
        self._loop.unwatch_writable(self._control.fileno())

    def _readable(self) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._control, server.MESSAGE, 1)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self._loop.unwatch(self._control.fileno())
                return
            self._take(server.decode_report.decode(data), fds)

    def _take(self, report: server.Report, fds: list[int]) -> None:
        self._serves = self._serves or not isinstance(report, server.Warned)
        match report:
            case server.Forked(number, pid) if fds:
                self._workers[number].launched(pid, fds[0])
            case server.Forked(number, pid):
                # Forked, but there was no descriptor left here for its pidfd.
                self._workers.pop(number).refused("no descriptors left in this process")
                os.kill(pid, signal.SIGKILL)
            case server.Refused(number, why):
                self._workers.pop(number).refused(why)
            case server.Ended(number, status, peak_rss):
                worker = self._workers.pop(number, None)
                if worker is not None:
                    worker.ended(status, peak_rss=peak_rss)
            case server.Warned(module, why):
                _log.warning("preload: module %r is not preloaded: %s", module, why)

    def _died(self) -> None:
        if self.dead:
            return
        self.dead = True
        self._readable()
        code = self._child.reap()
        how = "ended"
        if code is not None:
            how = f"was killed by {signal_name(-code)}" if code < 0 else f"exited with code {code}"
        self._release()
        for worker in list(self._workers.values()):
            worker.orphaned(f"its zygote (pid {self._child.pid}) {how}")
        self._workers.clear()

    def _release(self) -> None:
        self._loop.unwatch(self._pidfd)
        self._loop.unwatch(self._control.fileno())
        self._control.close()
        os.close(self._pidfd)
        while self._waiting:
            for fd in self._waiting.popleft()[1]:
                os.close(fd)

    def close(self) -> None:
        """End it and wait for its end; no caller waits for its workers any more."""
        if self.dead:
            return
        self.dead = True
        for worker in self._workers.values():
            worker.abandon()
        self._control.close()
        while self._waiting:
            for fd in self._waiting.popleft()[1]:
                os.close(fd)
        with contextlib.suppress(ProcessLookupError):
            # A zygote that still loads modules does not read its socket: it is killed. One that
            # was stopped by a signal is continued, so that it can read it.
            last = signal.SIGCONT if self._serves else signal.SIGKILL
            signal.pidfd_send_signal(self._pidfd, last)
            if not has_ended(self._pidfd, _LAST_WAIT):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._child.join()
        os.close(self._pidfd)
