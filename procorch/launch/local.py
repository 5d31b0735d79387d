"""A worker process on this machine, whoever forked it.

Its death is known from its pidfd and from nothing else (architecture, rule 8). When the pidfd
becomes readable, in this order: the rest of its process group is killed while its pid is still
taken (it is a zombie until reaped, so the group's number cannot be somebody else's), it is reaped,
its socket is drained of what it wrote in life, and only then its exit is reported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence

import psutil

from procorch.errors import ProtocolError
from procorch.errors.words import signal_name
from procorch.launch.base import Cause, ExitInfo, Sink, Spec, Watcher, Where
from procorch.wire.channel import Channel
from procorch.wire.frame import Buffer, Kind
from procorch.wire.status import FLAG, RAISE, StatusPage
from procorch.worker.cancel import CANCEL, STACK

_EOF_PATIENCE = 1.0
"""Seconds from the end of a worker's stream to the conclusion that it lives on without one. A
dying process closes its socket a moment before its pidfd tells."""


_NUDGE = 0.05
"""Seconds between two signals to a worker whose request is to end."""


class LocalProcess:
    """One worker: socket, pidfd, status page.

    Args:
        reap: returns the exit status like ``Popen.returncode``, None where it is unknown; called
            once, when the process is known to have ended.
    """

    def __init__(
        self,
        spec: Spec,
        pid: int,
        sock: socket.socket,
        page: StatusPage,
        reap: Callable[[], int | None],
        max_frame: int,
        loop: Watcher,
        sink: Sink,
    ) -> None:
        self.spec = spec
        self.where = Where(pid)
        self._pidfd = os.pidfd_open(pid)
        self._page = page
        self._reap = reap
        self._loop = loop
        self._sink = sink
        self._gone = False
        self._deaf = False
        sock.setblocking(False)
        self._channel = Channel(sock, max_frame)
        loop.watch(self._pidfd, self._died)
        loop.watch(self._channel.fileno(), self._readable)

    @property
    def progress(self) -> int:
        """The progress count of its status page."""
        return self._page.progress

    def send(self, kind: Kind, request: int, head: bytes, body: Sequence[Buffer]) -> None:
        """See `WorkerProcess.send`."""
        if self._gone or self._deaf:
            return
        try:
            self._channel.send(kind, self.spec.generation, request, head, body)
        except OSError:
            return  # Its death is on the way through the pidfd.
        if self._channel.unsent:
            self._loop.watch_writable(self._channel.fileno(), self._writable)

    def kill(self, signum: signal.Signals) -> None:
        """See `WorkerProcess.kill`: the process, its group, and what has left the group (N8)."""
        if self._gone:
            return
        pid = self.where.pid
        strays: list[psutil.Process] = []
        if signum == signal.SIGKILL:
            with contextlib.suppress(psutil.Error):
                strays = psutil.Process(pid).children(recursive=True)
        self._signal(signum)
        if signum == signal.SIGTERM:
            self._signal(signal.SIGCONT)
        # Not yet a group of its own if it is only just starting.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signum)
        for stray in strays:
            with contextlib.suppress(psutil.Error):  # psutil checks the start time before it kills
                stray.send_signal(signum)

    def cancel(self, request: int, *, force: bool) -> None:
        """See `WorkerProcess.cancel`."""
        self._page.aim(request, RAISE if force else FLAG)
        self._nudge(request)

    def _nudge(self, request: int) -> None:
        """Signal the worker, and again until its request has ended: an interrupt is put off while
        the worker is importing, and a signal may come before it has begun the request."""
        if self._gone or self._page.done == request or not self._page.force(request):
            return
        self._signal(CANCEL)
        self._loop.call_later(_NUDGE, lambda: self._nudge(request))

    def dump_stacks(self) -> None:
        """See `WorkerProcess.dump_stacks`."""
        if not self._gone:
            self._signal(signal.SIGCONT)
            self._signal(STACK)

    def _signal(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signum)

    def _writable(self) -> None:
        with contextlib.suppress(OSError):
            self._channel.flush()
        if not self._channel.unsent:
            self._loop.unwatch_writable(self._channel.fileno())

    def _readable(self) -> None:
        try:
            for frame in self._channel.receive():
                self._sink.on_frame(self, frame)
            if self._channel.fault is not None:
                raise self._channel.fault
        except ProtocolError as error:
            self._stop_listening()
            self._sink.on_broken(self, error)
            return
        if self._channel.eof:
            self._stop_listening()
            self._loop.call_later(_EOF_PATIENCE, self._still_there)

    def _stop_listening(self) -> None:
        """Nothing can be said to it any more, either: the socket is not watched."""
        self._deaf = True
        self._loop.unwatch(self._channel.fileno())

    def _still_there(self) -> None:
        if not self._gone:
            self._sink.on_broken(
                self, ProtocolError("it closed its channel and lived on", agent=self.spec.name)
            )

    def _died(self) -> None:
        self._gone = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.where.pid, signal.SIGKILL)
        code = self._reap()
        self._loop.unwatch(self._pidfd)
        self._loop.unwatch(self._channel.fileno())
        try:
            for frame in self._channel.drain():
                self._sink.on_frame(self, frame)
        except ProtocolError:
            pass  # A torn frame is a crash, and a crash is what is reported next (N3).
        started, stack = self._page.started, self._page.text()
        self._channel.close()
        self._page.close()
        os.close(self._pidfd)
        if code is not None and code < 0:
            info = ExitInfo(
                Cause.SIGNAL, signal=signal_name(-code), started=started, last_stack=stack
            )
        else:
            info = ExitInfo(Cause.EXIT, code=code, started=started, last_stack=stack)
        self._sink.on_exit(self, info)
