"""A worker process on this machine: its socket, its output, its status page.

Only its pidfd reports its death; `death` has the steps that follow.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from procorch.errors import ProtocolError
from procorch.launch.base import ExitInfo, Figures, Sink, Spec, Stream, Watcher, Where
from procorch.launch.death import WatchedProcess
from procorch.launch.endpoints import Endpoints
from procorch.launch.output_pipes import OutputPipe
from procorch.launch.stacks import StackReader
from procorch.launch.transfer import Transfer
from procorch.wire import fence
from procorch.wire.frame import Frame, Kind
from procorch.wire.parent_channel import ParentChannel
from procorch.wire.payload import Parts
from procorch.wire.status import FLAG, RAISE
from procorch.worker.interrupts import CANCEL, STACK

_EOF_PATIENCE = 1.0
"""Seconds after the end of a worker's stream until it counts as alive without one. The socket of a
dying process closes a moment before its pidfd becomes readable."""

_REST = 0.01
"""Seconds for which a socket that a caller has read is left to the next caller. To detach and
attach it costs two system calls, and wakes the monitor where a reply comes in between."""

_SIGNAL_INTERVAL = 0.05
"""Seconds between two signals to a worker whose request is cancelled."""


class LocalProcess(WatchedProcess):
    """One worker.

    The object exists before the process: frames sent meanwhile wait in the socket.
    """

    def __init__(
        self, spec: Spec, ends: Endpoints, max_frame: int, loop: Watcher, sink: Sink
    ) -> None:
        super().__init__(loop)
        self.spec = spec
        self._page = ends.page
        self._sink = sink
        self._disconnected = False
        self._detached = False  # The loop does not watch the socket,
        self._lent = False  # because a caller reads it, or
        self._left_at_rest = False  # one has read it lately: `_return_reader` will be called.
        self._taken_again = False
        self._signalled = 0
        self._stacks = StackReader(self._page, loop, self._signal)
        self._channel = ParentChannel(ends.ours, max_frame)
        self._reading: Transfer | None = None
        self._writing: Transfer | None = None
        self._fd = ends.ours.fileno()
        self._output_pipes = [
            OutputPipe(fd, loop, self._writes(stream)) for stream, fd in ends.pipes.items()
        ]

    def _writes(self, stream: Stream) -> Callable[[bytes], float]:
        return lambda data: self._sink.on_output(self, stream, data)

    figures: Figures | None = None
    """See `WorkerProcess.figures`."""

    @property
    def progress(self) -> int:
        """The progress count of its status page; 0 after its end."""
        return 0 if self._gone else self._page.progress

    @property
    def started(self) -> int:
        """See `WorkerProcess.started`."""
        return 0 if self._gone else self._page.started

    @property
    def item(self) -> int:
        """See `WorkerProcess.item`."""
        return 0 if self._gone else self._page.item

    @property
    def begun(self) -> tuple[int, ...]:
        """See `WorkerProcess.begun`."""
        return () if self._gone else self._page.begun

    def send(self, kind: Kind, request: int, head: bytes, body: Parts) -> None:
        """See `WorkerProcess.send`."""
        if self._gone or self._disconnected:
            return
        if self._detached and not self._lent:
            self.attach_reader()
        try:
            self._channel.send(kind, self.spec.generation, request, head, body)
        except OSError:
            return  # It has died; the pidfd will report it.
        if self._channel.unsent and self.where is not None:
            self._want_to_write()

    def _want_to_write(self) -> None:
        channel = self._channel
        if channel.take_bulk():
            self._writing = self._transfer(channel.write_bulk, socket.SHUT_WR, self._has_written)
            if self._writing is None:
                channel.return_bulk()
        if channel.unsent and not channel.held and not channel.writing and self._reading is None:
            self.attach_reader()
            self._loop.watch_writable(self._fd, self._writable)

    def _transfer(
        self, move: Callable[[], None], direction: int, done: Callable[[], None]
    ) -> Transfer | None:
        """Have a thread move the bulk of a frame; None: there is no thread left for it."""
        try:
            return Transfer(move, partial(self._channel.stop, direction), self._loop, done)
        except (OSError, RuntimeError):
            return None

    def _has_written(self) -> None:
        self._writing = None
        with contextlib.suppress(OSError):  # It has died; the pidfd reports it.
            self._channel.written()
        self._want_to_write()

    def _read_bulk(self) -> None:
        """Have a thread read the large frame that has begun; nobody else reads meanwhile."""
        reading = self._transfer(self._channel.read_bulk, socket.SHUT_RD, self._has_read)
        if reading is not None:
            self._stop_reading()
            self._reading = reading

    def _has_read(self) -> None:
        self._reading = None
        self._loop.watch(self._fd, self._readable)
        self._want_to_write()

    def detach_reader(self) -> int:
        """See `WorkerProcess.detach_reader`."""
        if (
            self.where is None
            or self._gone
            or self._disconnected
            or self._lent
            or self._channel.unsent
            or self._channel.writing
            or self._reading is not None
        ):
            return -1
        self._lent = self._taken_again = True
        if not self._detached:
            self._detached = True
            self._loop.unwatch(self._fd)
        return self._fd

    def read(self) -> bool:
        """See `WorkerProcess.read`."""
        if self._detached:
            self._readable()
        return self._detached

    def attach_reader(self) -> None:
        """See `WorkerProcess.attach_reader`."""
        self._lent = False
        if self._detached:
            self._detached = False
            self._loop.watch(self._fd, self._readable)

    def leave_reader(self) -> None:
        """See `WorkerProcess.leave_reader`."""
        self._lent = False
        if self._detached and not self._left_at_rest:
            self._left_at_rest = True
            self._taken_again = False
            self._loop.call_later(_REST, self._return_reader)

    def _return_reader(self) -> None:
        """Attach the socket again, unless a caller has detached it lately."""
        self._left_at_rest = False
        if self._lent:
            return  # That caller will leave or attach it.
        if self._taken_again:
            self.leave_reader()
        else:
            self.attach_reader()

    def cancel(self, request: int, *, force: bool) -> None:
        """See `WorkerProcess.cancel`."""
        if self._gone:
            return
        self._page.aim(request, RAISE if force else FLAG)
        if self._signalled == request:
            self._signal(CANCEL)
        else:
            self._signalled = request
            self._signal_until_done(request)

    def revoke(self, request: int) -> None:
        """See `WorkerProcess.revoke`."""
        if not self._gone:
            self._page.aim(request, FLAG)
            fence.fence()  # The caller reads `started` next.

    @property
    def gives_back(self) -> bool:
        """See `WorkerProcess.gives_back`."""
        return not self._gone and self._page.has_fences and fence.is_supported()

    def take_back(self, number: int) -> int:
        """See `WorkerProcess.take_back`."""
        return number if self._gone else self._page.take_back(number)

    def _signal_until_done(self, request: int) -> None:
        """Signal the worker repeatedly until its request has ended: the worker defers an interrupt
        during an import, and a signal may come before it has begun the request."""
        if self._gone or self._page.done == request or self._signalled != request:
            return
        self._signal(CANCEL)
        self._loop.call_later(_SIGNAL_INTERVAL, lambda: self._signal_until_done(request))

    def dump_stacks(self) -> None:
        """See `WorkerProcess.dump_stacks`."""
        if not self._gone:
            self._stacks.keep()
            self._page.suspect()
            # In this order: a stopped worker writes where it stopped, before it works on.
            self._signal(STACK)
            self._signal(signal.SIGCONT)

    def show_stacks(self, patience: float, told: Callable[[str], None]) -> None:
        """See `WorkerProcess.show_stacks`."""
        if self._gone or self.where is None:
            told("")
        else:
            self._stacks.ask(self.where.pid, patience, told)

    def _writable(self) -> None:
        with contextlib.suppress(OSError):
            self._channel.flush()
        if not self._channel.unsent or self._channel.writing:
            self._loop.unwatch_writable(self._fd)

    def _readable(self) -> None:
        try:
            frames = self._channel.receive()
            if frames:
                for pipe in (
                    self._output_pipes
                ):  # output that was written before the frames is reported first
                    pipe.read_available()
                if len(frames) == 1:
                    self._sink.on_frame(self, frames[0])
                else:
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
        elif not frames and self._channel.is_reading_bulk and not self._disconnected:
            self._read_bulk()

    def _hand_in(self, frames: list[Frame]) -> None:
        """What they have sent to it leaves in one write."""
        self._channel.hold()
        try:
            for frame in frames:
                self._sink.on_frame(self, frame)
        finally:
            with contextlib.suppress(OSError):  # It has died; the pidfd reports it.
                self._channel.release()
            if self.where is not None and not self._gone and not self._disconnected:
                self._want_to_write()

    def _stop_listening(self) -> None:
        """Stop reading the socket and sending to it."""
        self._disconnected = True
        self._stop_reading()

    def _still_there(self) -> None:
        if not self._dead:
            self._sink.on_broken(
                self, ProtocolError("it closed its socket and did not exit", agent=self.spec.name)
            )

    def _begin(self, where: Where) -> None:
        # Not earlier: its first frame may come before the report of its start, and its pid must be
        # known when it is ready.
        self._loop.watch(self._fd, self._readable)
        self._want_to_write()
        self._sink.on_started(self, where)

    def _stop_reading(self) -> None:
        self._detached = self._lent = False
        self._loop.unwatch(self._fd)
        if self._reading is not None:
            self._reading.stop()
            self._reading = None

    def _drain(self) -> None:
        for pipe in self._output_pipes:
            pipe.read_available()
        try:
            for frame in self._channel.drain():
                self._sink.on_frame(self, frame)
        except ProtocolError:
            pass  # An incomplete frame means a crash, which is reported next (N3).

    def _complete(self, info: ExitInfo) -> ExitInfo:
        page, cgroup = self._page, self.spec.cgroup
        if cgroup is not None and info.signal == "SIGKILL":
            info = replace(info, overrun=cgroup.overrun())
        return replace(
            info,
            started=page.started,
            item=page.item,
            begun=page.begun,
            last_stack=self._stacks.of_crash(),
        )

    def _close(self) -> None:
        if self._writing is not None:
            self._writing.stop()
            self._writing = None
        self._channel.close()
        self._fd = -1
        self._stacks.close()
        self._page.close()
        if self.spec.cgroup is not None:
            self.spec.cgroup.end()
        for pipe in self._output_pipes:
            pipe.close()
        # The pipes refer to this object: without this only the cycle collector would free it.
        self._output_pipes.clear()

    def _report(self, info: ExitInfo) -> None:
        self._sink.on_exit(self, info)
