"""A worker on a node of the cluster, as the parent sees it.

What it knows of the worker are its relay's reports, some milliseconds old. So a request that is
taken from the worker counts as begun, unless it was never sent: nobody can ask the worker in time.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Protocol, cast

from procorch.errors import ProtocolError
from procorch.launch.base import Cause, ExitInfo, Figures, Sink, Spec, Stream, Watcher, Where
from procorch.launch.ray import messages
from procorch.wire.frame import Frame, Kind
from procorch.wire.payload import Content, Parts, unpack


class Line(Protocol):
    """What carries messages to the relay of a worker."""

    @property
    def is_connected(self) -> bool:
        """Whether the bridge belongs to the cluster."""
        ...

    def tell(self, process: RemoteProcess, message: messages.Command, body: Parts = ()) -> None:
        """Send a message to the relay."""
        ...

    def forget(self, process: RemoteProcess) -> None:
        """The worker has ended."""
        ...


class RemoteProcess:
    """One worker; see `launch.base.WorkerProcess`.

    Attributes:
        number: how parent and bridge call it.
    """

    def __init__(self, spec: Spec, number: int, line: Line, loop: Watcher, sink: Sink) -> None:
        self.spec = spec
        self.number = number
        self.where: Where | None = None
        self._line = line
        self._loop = loop
        self._sink = sink
        self._seen = messages.Seen(0, 0, 0)
        self._revoked = 0
        self._gone = False
        self._broken = False
        self._why = "the bridge connects to the cluster"
        self._asked: dict[int, Callable[[str], None]] = {}
        self._numbers = 0

    # ---- what the monitor wants

    def send(self, kind: Kind, request: int, head: bytes, body: Parts) -> None:
        """See `WorkerProcess.send`."""
        if not self._broken:
            self._tell(messages.Send(int(kind), request, head), body)

    def detach_reader(self) -> int:
        """See `WorkerProcess.detach_reader`: nobody can read it directly."""
        return -1

    def read(self) -> bool:
        """See `WorkerProcess.read`."""
        return False

    def attach_reader(self) -> None:
        """See `WorkerProcess.attach_reader`."""

    def leave_reader(self) -> None:
        """See `WorkerProcess.leave_reader`."""

    @property
    def progress(self) -> int:
        """See `WorkerProcess.progress`."""
        return self._seen.progress

    @property
    def started(self) -> int:
        """See `WorkerProcess.started`; a request that was revoked counts as begun."""
        return 0 if self._gone else self._revoked or self._seen.started

    @property
    def item(self) -> int:
        """See `WorkerProcess.item`."""
        return 0 if self._gone else self._seen.item

    @property
    def begun(self) -> tuple[int, ...]:
        """See `WorkerProcess.begun`."""
        return ()

    @property
    def figures(self) -> Figures | None:
        """See `WorkerProcess.figures`."""
        seen = self._seen
        return Figures(seen.cpu, seen.rss, seen.peak_rss)

    def cancel(self, request: int, *, force: bool) -> None:
        """See `WorkerProcess.cancel`."""
        self._tell(messages.Cancel(request, force))

    def revoke(self, request: int) -> None:
        """See `WorkerProcess.revoke`. The worker may begin the request before it learns of this."""
        self._revoked = request
        self._tell(messages.Cancel(request, force=False, signal=False))

    @property
    def gives_back(self) -> bool:
        """See `WorkerProcess.gives_back`: that takes shared memory."""
        return False

    def take_back(self, number: int) -> int:
        """See `WorkerProcess.take_back`."""
        return number

    def dump_stacks(self) -> None:
        """See `WorkerProcess.dump_stacks`."""
        self._tell(messages.DumpStacks())

    def show_stacks(self, patience: float, told: Callable[[str], None]) -> None:
        """See `WorkerProcess.show_stacks`."""
        if self._gone or self.where is None:
            told("")
            return
        self._numbers += 1
        number = self._numbers
        self._asked[number] = told
        self._tell(messages.ShowStacks(number, patience))
        self._loop.call_later(patience + 1.0, lambda: self._answer(number, ""))

    def kill(self, signum: signal.Signals) -> None:
        """See `WorkerProcess.kill`. A worker that is not placed yet will not be placed."""
        self._tell(messages.Kill(int(signum)))
        if self.where is None and not self._line.is_connected:
            # The bridge reads both messages one after the other, so it begins nothing.
            self._loop.call_later(0, lambda: self._given_up(signum))

    def _tell(self, message: messages.Command, body: Parts = ()) -> None:
        if not self._gone:
            self._line.tell(self, message, body)

    def _given_up(self, signum: signal.Signals) -> None:
        if self.where is None:
            self.end(unplaced(signum, self._why))

    # ---- what is reported of it

    def take(self, report: messages.Report, body: Content) -> None:
        """A report of its relay, or of the bridge about it."""
        if self._gone:
            return
        match report:
            case messages.FromWorker():
                self._see(report.started, report.item, report.progress)
                kind = Kind(report.kind)
                self._sink.on_frame(
                    self, Frame(kind, report.generation, report.request, report.head, body)
                )
            case messages.Output(stream):
                self._sink.on_output(self, cast(Stream, stream), bytes(unpack(body)))
            case messages.Seen():
                self._seen, self._revoked = report, 0
            case messages.Waiting(why):
                self.wait_for(why)
            case messages.Started(pid, host, node):
                self.where = Where(pid, host, node)
                self._sink.on_started(self, self.where)
            case messages.Broken(what):
                self._broken = True
                self._sink.on_broken(self, ProtocolError(what, agent=self.spec.name))
            case messages.Stacks(number):
                self._answer(number, bytes(unpack(body)).decode("utf-8", "replace"))
            case messages.Ended():
                self.end(_exit_info(report))

    def wait_for(self, why: str) -> None:
        """It is not placed yet."""
        self._why = why
        if not self._gone and self.where is None:
            self._sink.on_waiting(self, why, connected=self._line.is_connected)

    def _see(self, started: int, item: int, progress: int) -> None:
        seen = self._seen
        self._revoked = 0
        self._seen = messages.Seen(started, item, progress, seen.cpu, seen.rss, seen.peak_rss)

    def _answer(self, number: int, text: str) -> None:
        told = self._asked.pop(number, None)
        if told is not None:
            told(text)

    def end(self, info: ExitInfo) -> None:
        """It has ended, or is lost; idempotent."""
        if self._gone:
            return
        self._gone = True
        self._line.forget(self)
        for number in list(self._asked):
            self._answer(number, "")
        self._sink.on_exit(self, info)

    def lost(self, why: str) -> ExitInfo:
        """What to report of it if its relay cannot be reached."""
        return ExitInfo(
            Cause.LOST, maybe_alive=True, started=self._seen.started, item=self._seen.item,
            detail=why,
        )  # fmt: skip


def unplaced(signum: int, why: str) -> ExitInfo:
    """What to report of a worker that was given up before it was placed."""
    if signum == signal.SIGKILL:
        detail = "it was killed before its process started"
        return ExitInfo(Cause.SIGNAL, signal="SIGKILL", detail=detail)
    return ExitInfo(Cause.UNPLACED, detail=why)


def _exit_info(ended: messages.Ended) -> ExitInfo:
    return ExitInfo(
        Cause(ended.cause),
        code=ended.code,
        signal=ended.signal,
        maybe_alive=ended.maybe_alive,
        started=ended.started,
        item=ended.item,
        begun=ended.begun,
        last_stack=ended.last_stack,
        detail=ended.detail,
        peak_rss=ended.peak_rss,
        overrun=ended.overrun,
        reason=ended.reason,
    )
