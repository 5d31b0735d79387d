"""A worker process on this machine, whoever forked it.

Its death is known from its pidfd and from nothing else (docs/guarantees.md). What follows, in
this order: the rest of its process group is killed while its pid is still taken (it is a zombie
until reaped, so the group's number cannot be somebody else's), it is reaped, its output and its
socket are drained of what it wrote in life, and only then its exit is reported. Killing the group
and reaping are its parent's business: this process's own, or the zygote's, which then tells the
exit status.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable

import psutil

from procorch.errors import ProtocolError
from procorch.errors.texts import signal_name
from procorch.launch.base import Cause, ExitInfo, Sink, Spec, Stream, Watcher, Where
from procorch.launch.endpoints import Ends
from procorch.launch.output_pipes import Tap
from procorch.wire.channel import Channel
from procorch.wire.frame import Frame, Kind
from procorch.wire.payload import Parts
from procorch.wire.status import FLAG, RAISE
from procorch.worker.interrupts import CANCEL, STACK

_EOF_PATIENCE = 1.0
"""Seconds from the end of a worker's stream to the conclusion that it lives on without one. A
dying process closes its socket a moment before its pidfd tells."""

_NUDGE = 0.05
"""Seconds between two signals to a worker whose request is to end."""


_WORD_PATIENCE = 2.0
"""Seconds from a worker's death to the conclusion that its zygote will not tell how it ended:
somebody has stopped the zygote. Callers are not to wait for what is known already."""

_KILLED_PATIENCE = 0.2
"""The same, if we have killed it and so know."""


class LocalProcess:
    """One worker: socket, pidfd, status page, output.

    It exists before its process does: what is sent meanwhile waits in the socket, and a signal is
    delivered at birth.
    """

    def __init__(self, spec: Spec, ends: Ends, max_frame: int, loop: Watcher, sink: Sink) -> None:
        self.spec = spec
        self.where: Where | None = None
        self._pidfd = -1
        self._page = ends.page
        self._reap: Callable[[], int | None] | None = None
        self._loop = loop
        self._sink = sink
        self._owed: signal.Signals | None = None
        self._detail: str | None = None
        self._dead = False
        self._killed = False
        self._gone = False
        self._deaf = False
        self._lent = False
        self._nudged = 0
        ends.ours.setblocking(False)
        self._channel = Channel(ends.ours, max_frame)
        self._taps = [Tap(fd, loop, self._writes(stream)) for stream, fd in ends.pipes.items()]

    def _writes(self, stream: Stream) -> Callable[[bytes], float]:
        return lambda data: self._sink.on_output(self, stream, data)

    def born(self, pid: int, pidfd: int, reap: Callable[[], int | None] | None = None) -> None:
        """Its process exists.

        Args:
            pidfd: now owned by this object.
            reap: gives the exit status once it has ended; None: `ended` will be called with it.
        """
        if self._gone:  # killed before it was born, and reported so
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
            return
        self.where = Where(pid)
        self._pidfd = pidfd
        self._reap = reap
        self._loop.watch(pidfd, self._died)
        # Not before: its first frame may overtake the word of its birth, and where it lives is
        # known by the time that it is ready.
        self._loop.watch(self._channel.fileno(), self._readable)
        self._want_to_write()
        self._sink.on_started(self, self.where)
        if self._owed is not None:
            self.kill(self._owed)

    @property
    def progress(self) -> int:
        """The progress count of its status page; of a dead worker 0: it makes none."""
        return 0 if self._gone else self._page.progress

    @property
    def started(self) -> int:
        """See `WorkerProcess.started`."""
        return 0 if self._gone else self._page.started

    @property
    def item(self) -> int:
        """See `WorkerProcess.item`."""
        return 0 if self._gone else self._page.item

    def send(self, kind: Kind, request: int, head: bytes, body: Parts) -> None:
        """See `WorkerProcess.send`."""
        if self._gone or self._deaf:
            return
        try:
            self._channel.send(kind, self.spec.generation, request, head, body)
        except OSError:
            return  # Its death is on the way through the pidfd.
        if self.where is not None:
            self._want_to_write()

    def _want_to_write(self) -> None:
        if self._channel.unsent and not self._channel.held:
            self.take_back()
            self._loop.watch_writable(self._channel.fileno(), self._writable)

    def lend(self) -> int:
        """See `WorkerProcess.lend`."""
        if self.where is None or self._gone or self._deaf or self._lent or self._channel.unsent:
            return -1
        self._lent = True
        fd = self._channel.fileno()
        self._loop.unwatch(fd)
        return fd

    def read(self) -> bool:
        """See `WorkerProcess.read`."""
        if self._lent:
            self._readable()
        return self._lent

    def take_back(self) -> None:
        """See `WorkerProcess.take_back`."""
        if self._lent:
            self._lent = False
            self._loop.watch(self._channel.fileno(), self._readable)

    def kill(self, signum: signal.Signals) -> None:
        """See `WorkerProcess.kill`: the process, its group, and what has left the group (N8)."""
        if self.where is None:
            self._owed = signum
            if signum == signal.SIGKILL:
                # Not from here: whoever kills is in the middle of something.
                self._loop.call_later(0, self._stillborn)
        elif self._alive():
            self._killed = self._killed or signum == signal.SIGKILL
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
                with contextlib.suppress(psutil.Error):  # psutil checks the start time first
                    stray.send_signal(signum)

    def _alive(self) -> bool:
        """Whether its pid is still its own: the zygote may have reaped it before we were told."""
        if self._gone or self._pidfd < 0:
            return False
        poll = select.poll()  # `select.select` refuses descriptors from 1024 on
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    def cancel(self, request: int, *, force: bool) -> None:
        """See `WorkerProcess.cancel`."""
        if self._gone:
            return
        self._page.aim(request, RAISE if force else FLAG)
        if self._nudged == request:
            self._signal(CANCEL)
        else:
            self._nudged = request
            self._nudge(request)

    def revoke(self, request: int) -> None:
        """See `WorkerProcess.revoke`."""
        if not self._gone:
            self._page.aim(request, FLAG)

    def _nudge(self, request: int) -> None:
        """Signal the worker, and again until its request has ended: an interrupt is put off while
        the worker is importing, and a signal may come before it has begun the request."""
        if self._gone or self._page.done == request or self._nudged != request:
            return
        self._signal(CANCEL)
        self._loop.call_later(_NUDGE, lambda: self._nudge(request))

    def dump_stacks(self) -> None:
        """See `WorkerProcess.dump_stacks`."""
        if not self._gone:
            self._signal(signal.SIGCONT)
            self._signal(STACK)

    def _signal(self, signum: int) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signum)

    def _writable(self) -> None:
        with contextlib.suppress(OSError):
            self._channel.flush()
        if not self._channel.unsent:
            self._loop.unwatch_writable(self._channel.fileno())

    def _readable(self) -> None:
        try:
            frames = self._channel.receive()
            if frames:
                self._pull()
                self._hand_in(frames)
            if self._channel.fault is not None:
                raise self._channel.fault
        except ProtocolError as error:
            self._stop_listening()
            self._sink.on_broken(self, error)
            return
        if self._channel.eof:
            self._stop_listening()
            self._loop.call_later(_EOF_PATIENCE, self._still_there)

    def _hand_in(self, frames: list[Frame]) -> None:
        """What they have sent to it leaves in one write."""
        if len(frames) > 1:
            self._channel.hold()
        try:
            for frame in frames:
                self._sink.on_frame(self, frame)
        finally:
            if len(frames) > 1:
                with contextlib.suppress(OSError):  # Its death is on the way through the pidfd.
                    self._channel.let_go()
                if self.where is not None and not self._gone and not self._deaf:
                    self._want_to_write()

    def _pull(self) -> None:
        """Hand in what it has written on its standard streams."""
        for tap in self._taps:
            tap.pull()

    def _stop_listening(self) -> None:
        """Nothing can be said to it any more, either: the socket is not watched."""
        self._deaf = True
        self._lent = False
        self._loop.unwatch(self._channel.fileno())

    def _still_there(self) -> None:
        if not self._dead:
            self._sink.on_broken(
                self, ProtocolError("it closed its channel and lived on", agent=self.spec.name)
            )

    def _died(self) -> None:
        self._dead = True
        self._loop.unwatch(self._pidfd)
        if self._reap is None:
            killed = self._killed
            self._loop.call_later(_KILLED_PATIENCE if killed else _WORD_PATIENCE, self._untold)
        elif self.where is not None:
            if self._detail is None:  # a zombie of ours
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.where.pid, signal.SIGKILL)
            self.ended(self._reap(), detail=self._detail)

    def _untold(self) -> None:
        known = -signal.SIGKILL if self._killed else None
        self.ended(known, detail="its zygote does not tell how")

    def ended(
        self, code: int | None, *, detail: str | None = None, peak_rss: int | None = None
    ) -> None:
        """It has ended and is reaped: hand in what it wrote, then report.

        Args:
            code: like ``Popen.returncode``; None: nobody knows.
            detail: what its parent has to say about it.
            peak_rss: the most memory it held at a time, in bytes.
        """
        if self._gone:
            return
        self._gone = True
        self._lent = False
        self._loop.unwatch(self._pidfd)
        self._loop.unwatch(self._channel.fileno())
        self._pull()
        try:
            for frame in self._channel.drain():
                self._sink.on_frame(self, frame)
        except ProtocolError:
            pass  # A torn frame is a crash, and a crash is what is reported next (N3).
        info = ExitInfo(
            Cause.SIGNAL if code is not None and code < 0 else Cause.EXIT,
            code=code if code is None or code >= 0 else None,
            signal=signal_name(-code) if code is not None and code < 0 else None,
            started=self._page.started,
            item=self._page.item,
            last_stack=self._page.text(),
            detail=detail,
            peak_rss=peak_rss,
        )
        self._release()
        self._sink.on_exit(self, info)

    def refused(self, why: str) -> None:
        """There will be no process."""
        self._never(ExitInfo(Cause.START_FAILED, detail=why))

    def _stillborn(self) -> None:
        """It was killed before there was a process to kill, and must not wait for a zygote that
        may be stuck. If one does come, it finds its socket closed and is killed (`born`)."""
        if self.where is None:
            self._never(ExitInfo(Cause.SIGNAL, signal="SIGKILL", detail="before it was born"))

    def _never(self, info: ExitInfo) -> None:
        if self._gone:
            return
        self._gone = True
        self._lent = False
        self._loop.unwatch(self._channel.fileno())
        self._release()
        self._sink.on_exit(self, info)

    def orphaned(self, detail: str) -> None:
        """Its parent is gone, so nobody will tell its exit status; the kernel has killed it."""
        if self._dead or self._pidfd < 0:
            self.ended(None, detail=detail)
        else:
            self._reap = lambda: None
            self._detail = detail

    def let_go(self) -> None:
        """Nobody waits for its end any more."""
        if not self._gone:
            self._gone = True
            self._lent = False
            self._loop.unwatch(self._pidfd)
            self._loop.unwatch(self._channel.fileno())
            self._release()

    def _release(self) -> None:
        self._channel.close()
        self._page.close()
        for tap in self._taps:
            tap.close()
        self._taps.clear()  # They refer to this object: its memory is not left to the collector.
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
