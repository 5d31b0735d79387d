"""What a worker's frame tells the machine. The payload stays sealed."""

from __future__ import annotations

from procorch.errors import AgentError
from procorch.errors.plain_data import from_plain
from procorch.futures.outcome import Outcome
from procorch.launch.base import WorkerProcess
from procorch.messages import RequestMetrics
from procorch.runtime.cargo import Cargo
from procorch.supervision import events as ev
from procorch.wire import headers
from procorch.wire.frame import Frame, Kind


def event_of(process: WorkerProcess, frame: Frame, cargo: Cargo | None) -> ev.Event:
    """The event that a frame stands for.

    Args:
        cargo: of the request that the frame answers, as far as that is still open.

    Raises:
        ValueError: not a frame of a worker, or with a head that says nothing (msgspec's errors are
            of this kind).
    """
    spec = process.spec
    if frame.kind is Kind.REPLY:
        cost = headers.decode_reply(frame.head).cost
        return _replied(process, frame, cargo, cost, None)
    if frame.kind is Kind.ERROR:
        head = headers.decode_error(frame.head)
        return _replied(process, frame, cargo, head.cost, from_plain(head.error))
    if frame.kind is Kind.READY:
        return ev.Ready(spec.key, spec.generation)
    if frame.kind is Kind.BYE:
        return ev.AgentFinished(spec.key, spec.generation)
    if frame.kind is Kind.FAILED_START:
        error = from_plain(headers.decode_error(frame.head).error)
        return ev.StartFailed(spec.key, spec.generation, error)
    raise ValueError(f"a worker does not send {frame.kind.name}")


def _replied(
    process: WorkerProcess,
    frame: Frame,
    cargo: Cargo | None,
    cost: headers.Cost | None,
    error: AgentError | None,
) -> ev.Replied:
    metrics = None
    if cost is not None and cargo is not None:
        metrics = RequestMetrics(
            queued=(cargo.sent or cargo.submitted) - cargo.submitted,
            wall=cost.wall,
            cpu_user=cost.cpu_user,
            cpu_system=cost.cpu_system,
            peak_rss=cost.peak_rss,
            bytes_in=cargo.size,
            bytes_out=len(frame.body),
            generation=process.spec.generation,
            pid=0 if process.where is None else process.where.pid,
            page_faults=cost.page_faults,
        )
    outcome = Outcome(metrics, None, frame.body)
    return ev.Replied(
        process.spec.key,
        frame.generation,
        frame.request,
        error,
        outcome,
        0 if cost is None else cost.used,
    )
