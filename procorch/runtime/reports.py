"""What workers do, as events: the sink of the launcher, on the thread whose turn it is."""

from __future__ import annotations

from collections.abc import Callable

from procorch.errors import AgentError, ProtocolError
from procorch.futures.stream import StreamReply
from procorch.launch.base import Cause, ExitInfo, Launcher, Stream, Where, WorkerProcess
from procorch.runtime.asks import Switchboard
from procorch.runtime.cargo import Cargo
from procorch.runtime.effects import Performer, no_process
from procorch.runtime.frame_events import event_of
from procorch.runtime.output import Echo
from procorch.runtime.sampler import Sampler
from procorch.supervision import events as ev
from procorch.wire import headers
from procorch.wire.frame import Frame, Kind
from procorch.wire.payload import unpack


class Reports:
    """See `launch.base.Sink`.

    A frame of an old generation is no danger: a process hands in its own spec's generation with
    each, and the machine drops what is not current.

    Args:
        step: hands an event to the machine, now.
    """

    def __init__(
        self,
        launcher: Launcher,
        performer: Performer,
        asks: Switchboard,
        sampler: Sampler,
        echo: Echo,
        step: Callable[[ev.Event], None],
    ) -> None:
        self._launcher = launcher
        self._links = performer.links
        self._requests = performer.requests
        self._asks = asks
        self._sampler = sampler
        self._echo = echo
        self._step = step

    def on_started(self, process: WorkerProcess, where: Where) -> None:
        """See `launch.base.Sink`."""
        link = self._links[process.spec.key]
        link.pid = where.pid
        limit = link.settings.memory_limit
        if limit is not None and not self._launcher.caps.remote:
            self._sampler.watch(link.key, process.spec.generation, where.pid, limit)

    def on_frame(self, process: WorkerProcess, frame: Frame) -> None:
        """See `launch.base.Sink`."""
        if frame.kind is Kind.CHECKPOINT:
            self._links[process.spec.key].checkpoint = bytes(unpack(frame.body))
            return
        try:
            if frame.kind is Kind.ASK:
                self._asks.ask(process, frame, process.started)
                return
            if frame.kind is Kind.FORGET:
                self._asks.forget(process, frame.request)
                return
            if frame.kind is Kind.PART:
                self._part(frame)
                return
            if frame.kind is Kind.DELTA:
                self._piece(process, frame)
                return
            event = event_of(process, frame, self._cargo(frame.request))
        except ValueError as error:
            name = process.spec.name
            self.on_broken(process, ProtocolError(f"agent {name!r}: bad frame: {error}"))
        else:
            self._step(event)

    def _cargo(self, number: int) -> Cargo | None:
        """What belongs to a request; None: it has its outcome."""
        request = self._requests.get(number)
        return None if request is None else request.cargo

    def _part(self, frame: Frame) -> None:
        cargo = self._cargo(frame.request)
        if cargo is not None:  # else it was cancelled
            if cargo.items is None:
                raise ValueError(f"a part of request {frame.request}, which is no chunk")
            cargo.items.parts.append(frame.body)

    def _piece(self, process: WorkerProcess, frame: Frame) -> None:
        """A piece of an answer goes to who reads it; it decides nothing."""
        number = headers.decode_delta(frame.head).confirm
        cargo = self._cargo(frame.request)
        reply = None if cargo is None or cargo.process is not process else cargo.reply
        if isinstance(reply, StreamReply):
            reply.arrive(process, bytes(unpack(frame.body)), number)
        elif number:
            process.send(Kind.ANSWER, number, b"", [])

    def on_output(self, process: WorkerProcess, stream: Stream, data: bytes) -> float:
        """See `launch.base.Sink`."""
        link = self._links.get(process.spec.key)
        if link is None:  # It has been given up.
            return 0.0
        link.output.keep(stream, data)
        target = link.output.target
        return 0.0 if target is None else self._echo.put(target, data)

    def on_broken(self, process: WorkerProcess, error: AgentError) -> None:
        """See `launch.base.Sink`."""
        self._step(ev.StreamBroken(process.spec.key, process.spec.generation, error))

    def on_exit(self, process: WorkerProcess, exit: ExitInfo) -> None:
        """See `launch.base.Sink`."""
        spec = process.spec
        link = self._links.get(spec.key)
        self._sampler.forget(spec.key)
        self._asks.process_ended(spec.key)
        hit = self._cargo(exit.started)
        if hit is not None and hit.items is not None:
            hit.items.begun = exit.item
        if exit.cause is Cause.START_FAILED:
            self._step(
                ev.StartFailed(spec.key, spec.generation, no_process(spec.name, exit.detail))
            )
        self._step(
            ev.Exited(
                spec.key,
                spec.generation,
                ev.Exit(
                    code=exit.code,
                    signal=exit.signal,
                    pid=None if process.where is None else process.where.pid,
                    started=exit.started,
                    last_stack=exit.last_stack,
                    stderr_tail=None if link is None else link.output.tail(),
                    peak_rss=exit.peak_rss,
                    detail=exit.detail,
                    lost=exit.cause is Cause.LOST,
                ),
            )
        )
