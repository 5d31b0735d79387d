"""The sink of the launcher: turns what workers do into events, as the owner of the loop.

Payloads are not opened here.
"""

from __future__ import annotations

from procorch.errors import AgentError, ProtocolError
from procorch.errors.plain_data import from_plain
from procorch.futures.kept import KeptReply, KeptTurn
from procorch.futures.outcome import ReplyOutcome
from procorch.futures.stream import StreamReply
from procorch.launch.base import Cause, ExitInfo, Launcher, Stream, Where, WorkerProcess
from procorch.runtime.asks import QuestionRelay
from procorch.runtime.calls import CallGate
from procorch.runtime.cargo import Cargo
from procorch.runtime.clusters import failed_there, no_process, node_event
from procorch.runtime.effects import ActionRunner
from procorch.runtime.instance_runtime import InstanceRuntime
from procorch.runtime.open_requests import OpenRequests
from procorch.runtime.output import STANDARD_OUTPUT, Echo
from procorch.runtime.output_sink import Origin, SinkFeed
from procorch.runtime.sampler import Sampler
from procorch.runtime.stepper import Stepper
from procorch.supervision import events as ev
from procorch.wire import headers, used
from procorch.wire.frame import Frame, Kind
from procorch.wire.payload import unpack


class Reports:
    """See `launch.base.Sink`.

    Frames of an old generation do no harm: each event has the generation of its process, and the
    machine drops those that are not current.

    Args:
        output: writes what workers print.
        runner: publishes events of nodes.
        stepper: handles the events.
    """

    def __init__(
        self,
        launcher: Launcher,
        instances: dict[int, InstanceRuntime],
        requests: OpenRequests,
        asks: QuestionRelay,
        calls: CallGate,
        sampler: Sampler,
        output: Echo | SinkFeed,
        stepper: Stepper,
        runner: ActionRunner,
    ) -> None:
        self._runner = runner
        self._launcher = launcher
        self._instances = instances
        self._open = requests
        self._requests = requests.by_number
        self._asks = asks
        self._calls = calls
        self._sampler = sampler
        self._output = output
        self._stepper = stepper

    def on_started(self, process: WorkerProcess, where: Where) -> None:
        """See `launch.base.Sink`."""
        instance = self._instances[process.spec.key]
        if process.spec.generation == instance.generation:  # it is not the one beside
            instance.pid = where.pid
        limit = process.spec.memory_limit
        if limit is not None and not self._launcher.caps.remote:
            self._sampler.watch(instance.key, process.spec.generation, where.pid, limit)
        if self._launcher.caps.remote:
            self._stepper.step(ev.Placed(process.spec.key, process.spec.generation))

    def on_waiting(self, process: WorkerProcess, why: str, *, connected: bool) -> None:
        """See `launch.base.Sink`."""
        spec = process.spec
        self._stepper.step(ev.Placing(spec.key, spec.generation, why, connected))

    def on_node(self, where: Where, *, joined: bool, why: str) -> None:
        """See `launch.base.Sink`."""
        self._runner.publish(node_event(where, joined=joined, why=why, at=self._open.now))

    def on_frame(self, process: WorkerProcess, frame: Frame) -> None:
        """See `launch.base.Sink`."""
        try:
            if frame.kind is Kind.REPLY:
                head = headers.decode_reply(frame.head)
                outcome = self._outcome(process, frame, head)
                self._stepper.succeed(
                    process.spec.key, frame.generation, frame.request, outcome, head.resources
                )
                return
            event = self._event_of(process, frame)
        except ValueError as error:
            name = process.spec.name
            self.on_broken(process, ProtocolError(f"agent {name!r}: bad frame: {error}"))
            return
        if event is not None:
            self._stepper.step(event)

    def _event_of(self, process: WorkerProcess, frame: Frame) -> ev.Event | None:
        """Handle a frame; returns the event for the machine, None if it needs none.

        Raises:
            ValueError: a worker does not send this kind of frame, or its header is invalid (the
                errors of msgspec are of this class).
        """
        spec = process.spec
        match frame.kind:
            case Kind.ERROR:
                head = headers.decode_error(frame.head)
                resources = head.resources
                return ev.Replied(
                    spec.key,
                    frame.generation,
                    frame.request,
                    used.error_with(head.error),
                    self._outcome(process, frame, head),
                    0 if resources is None else resources.used,
                    0.0 if resources is None else resources.wall,
                )
            case Kind.READY:
                run = self._open.began_by_itself(self._instances[spec.key])
                return ev.Ready(spec.key, spec.generation, process.gives_back, run)
            case Kind.NOT_BEGUN:
                place = headers.decode_not_begun(frame.head).place
                return ev.NotBegun(spec.key, spec.generation, frame.request, place)
            case Kind.BYE:
                return ev.AgentFinished(spec.key, spec.generation)
            case Kind.FAILED_START:
                error = from_plain(headers.decode_error(frame.head).error)
                if process.where is not None and process.where.node is not None:
                    error = failed_there(error, process.where)
                return ev.StartFailed(spec.key, spec.generation, error)
            case Kind.CHECKPOINT if frame.request:
                self._kept_turn(process, frame)
            case Kind.CHECKPOINT:
                state = bytes(unpack(frame.body))
                self._instances[spec.key].keep_checkpoint(spec.generation, state)
            case Kind.ASK:
                self._asks.ask(process, frame, process.started)
            case Kind.FORGET:
                self._asks.forget(process, frame.request)
                self._calls.forget(process, frame.request)
            case Kind.CALL:
                self._calls.begin(process, frame)
            case Kind.CALL_END:
                self._calls.end(process, frame)
            case Kind.PART:
                self._part(frame)
            case Kind.DELTA:
                self._piece(process, frame)
            case _:
                raise ValueError(f"a worker does not send {frame.kind.name}")
        return None

    def _outcome(
        self, process: WorkerProcess, frame: Frame, head: headers.ReplyHead | headers.ErrorHead
    ) -> ReplyOutcome:
        """The outcome that an answer is, with its figures as far as they are known."""
        if self._calls.accounts.requests:
            self._calls.answered(frame.request)
        request, resources = self._requests.get(frame.request), head.resources
        if resources is None or request is None:
            return ReplyOutcome(None, None, frame.body, used=head.used)
        cargo: Cargo = request.cargo
        figures = (
            (cargo.sent or cargo.submitted) - cargo.submitted,
            resources.wall,
            resources.cpu_user,
            resources.cpu_system,
            resources.peak_rss,
            cargo.size,
            len(frame.body),
            process.spec.generation,
            0 if process.where is None else process.where.pid,
            resources.page_faults,
        )
        return ReplyOutcome(figures, None, frame.body, used=head.used)

    def _cargo(self, number: int) -> Cargo | None:
        """The runtime data of a request; None: it has its outcome."""
        request = self._requests.get(number)
        return None if request is None else request.cargo

    def _part(self, frame: Frame) -> None:
        cargo = self._cargo(frame.request)
        if cargo is not None:  # else it was cancelled
            if cargo.items is None:
                raise ValueError(f"a part of request {frame.request}, which is not a chunk")
            cargo.items.add(frame.body)

    def _kept_turn(self, process: WorkerProcess, frame: Frame) -> None:
        """Note what is to be stored of a turn, before its answer comes."""
        head, body = headers.decode_kept_turn(frame.head), unpack(frame.body)
        cargo = self._cargo(frame.request)
        reply = None if cargo is None or cargo.process is not process else cargo.reply
        if isinstance(reply, KeptReply):  # else it was cancelled
            messages, state = bytes(body[: head.split]), bytes(body[head.split :])
            reply.turn = KeptTurn(head.form, head.kind, head.count, messages, state)

    def _piece(self, process: WorkerProcess, frame: Frame) -> None:
        """Pass a piece of an answer to its reader."""
        head = headers.decode_delta(frame.head)
        number = head.confirm
        cargo = self._cargo(frame.request)
        reply = None if cargo is None or cargo.process is not process else cargo.reply
        if isinstance(reply, StreamReply):
            reply.arrive(process, bytes(unpack(frame.body)), number, event=head.event)
        elif number:
            process.send(Kind.ANSWER, number, b"", [])

    def on_output(self, process: WorkerProcess, stream: Stream, data: bytes) -> float:
        """See `launch.base.Sink`."""
        instance = self._instances.get(process.spec.key)
        if instance is None:  # The machine has given it up.
            return 0.0
        output = self._output
        if stream == "stdout" and not instance.output.captures_stdout:
            # Of a worker elsewhere: one on this machine has the standard output itself.
            return output.put(STANDARD_OUTPUT, data) if isinstance(output, Echo) else 0.0
        instance.output.keep(stream, data)
        if isinstance(output, SinkFeed):
            spec = process.spec
            request = self._request_of(instance, spec.generation)
            origin = Origin(spec.name, instance.slot, spec.generation, request, stream)
            return output.put(origin, data)
        target = instance.output.target
        return 0.0 if target is None else output.put(target, data)

    def _request_of(self, instance: InstanceRuntime, generation: int) -> int | None:
        """The number of the request that a process of an agent works on; None: none, or several."""
        a = self._stepper.instances.get(instance.key)
        if a is None or instance.agent.service:
            return None
        for process in (a.process, a.beside):
            if process is not None and process.generation == generation:
                return process.inflight[0].id if len(process.inflight) == 1 else None
        return None

    def on_broken(self, process: WorkerProcess, error: AgentError) -> None:
        """See `launch.base.Sink`."""
        self._stepper.step(ev.StreamBroken(process.spec.key, process.spec.generation, error))

    def on_exit(self, process: WorkerProcess, exit: ExitInfo) -> None:
        """See `launch.base.Sink`."""
        spec = process.spec
        instance = self._instances.get(spec.key)
        self._sampler.forget(spec.key, spec.generation)
        output = self._output
        if isinstance(output, SinkFeed) and instance is not None:
            output.end(
                spec.name, instance.slot, spec.generation, lambda: self._exited(process, exit)
            )
        else:
            self._exited(process, exit)

    def _exited(self, process: WorkerProcess, exit: ExitInfo) -> None:
        spec = process.spec
        instance = self._instances.get(spec.key)
        self._asks.process_ended(process)
        self._calls.process_ended(process)
        hit = self._cargo(exit.started)
        if hit is not None and hit.items is not None:
            hit.items.begun = exit.item
        if exit.cause is Cause.START_FAILED:
            failed = no_process(spec.name, exit.detail, exit.reason)
            self._stepper.step(ev.StartFailed(spec.key, spec.generation, failed))
        if exit.overrun is not None:
            self._stepper.step(ev.MemoryExceeded(spec.key, spec.generation, exit.overrun))
        self._stepper.step(
            ev.Exited(
                spec.key,
                spec.generation,
                ev.Exit(
                    code=exit.code,
                    signal=exit.signal,
                    pid=None if process.where is None else process.where.pid,
                    started=exit.started,
                    begun=exit.begun,
                    last_stack=exit.last_stack,
                    stderr_tail=None if instance is None else instance.output.tail(),
                    peak_rss=exit.peak_rss,
                    detail=exit.detail,
                    lost=exit.cause is Cause.LOST,
                    node=None if process.where is None else process.where.node,
                    unplaced=exit.cause is Cause.UNPLACED,
                ),
            )
        )
