"""Outcomes of attempts as records of the journal, and back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from procorch.batch import values
from procorch.batch.items import BatchFailure, BatchItem, BatchSuccess, ItemCost
from procorch.batch.options import ActiveItem
from procorch.batch.reasons import place_of, reason_of
from procorch.batch.records import (
    AttemptRecord,
    ItemRecord,
    scores_of,
    stop_of,
    usage_of,
    used,
)
from procorch.errors import AgentError, SerializationError, StreamError
from procorch.errors.plain_data import from_plain, to_plain
from procorch.messages import AgentResult, RequestMetrics, StopReason

if TYPE_CHECKING:
    from procorch.futures.reply import ReplyFuture

_LARGEST = 900_000_000
"""Bytes of an output: SQLite accepts no more than a billion."""


def packed(output: object) -> str | bytes:
    """An output as the journal keeps it.

    Raises:
        SerializationError: it cannot be serialised, or is too large.
    """
    try:
        data = values.pack(output)
    except Exception as error:
        why = f"cannot be kept: {type(error).__name__}: {error}"
        raise SerializationError(what="output", reason=why) from None
    if len(data) > _LARGEST:
        raise SerializationError(what="output", reason=f"{len(data)} bytes are too many to keep")
    return data


def cut_off(result: AgentResult) -> StreamError | None:
    """The error of an answer that its model did not end; None: it did."""
    stop = result.stop_reason
    if stop not in (StopReason.LENGTH, StopReason.ABORTED, StopReason.ERROR):
        return None
    return StreamError(f"the model's answer was cut off ({result.error or stop.value})")


def success(
    active: ActiveItem, output: str | bytes, reply: ReplyFuture, stop: StopReason
) -> ItemRecord:
    """The final outcome of an item that succeeded."""
    figures = _figures(reply.metrics, None)
    return _record(active, stop, ok=True, output=output, log=_log(reply), **figures)


def failure(
    active: ActiveItem,
    error: AgentError,
    last: AttemptRecord,
    output: str | bytes | None = None,
    stop: StopReason | None = None,
) -> ItemRecord:
    """The final outcome of an item that failed, with the figures of its last attempt.

    Args:
        output: what there is of an answer that was cut off; ``stop`` says by what.
    """
    value = active.item.value
    return _record(
        active,
        stop,
        ok=False,
        output=output,
        reason=reason_of(error),
        place=place_of(error),
        error=_plain(error),
        wall=last.wall,
        cpu=last.cpu,
        peak_rss=last.peak_rss,
        pid=last.pid,
        input=msgspec.json.encode(value).decode() if values.is_plain(value) else None,
        log=last.log,
    )


def attempt(active: ActiveItem, error: AgentError, reply: ReplyFuture | None) -> AttemptRecord:
    """The record of an attempt that failed; ``reply`` is None if the item could not be sent."""
    return AttemptRecord(
        id=active.item.id,
        number=active.number,
        reason=reason_of(error),
        place=place_of(error),
        error=_plain(error),
        finished=time.time(),
        log="" if reply is None else _log(reply),
        **_figures(None if reply is None else reply.metrics, error),
    )


def error_of(fact: ItemRecord | AttemptRecord) -> AgentError | None:
    """The error of a failed item or attempt; None: it has none."""
    return None if fact.error is None else from_plain(msgspec.json.decode(fact.error))


def item_of(record: ItemRecord) -> BatchItem:
    """The item of a record of an earlier run.

    Raises:
        UnreadableValue: its output cannot be loaded here.
    """
    output = None if record.output is None else values.unpack(record.output)
    return finished_item(record, output, error_of(record), resumed=True)


def finished_item(
    record: ItemRecord, output: Any, error: AgentError | None, *, resumed: bool = False
) -> BatchItem:
    """The item of a record, with its output or its error as objects."""
    stop = stop_of(record)
    rest = (
        record.attempts, record.position, resumed, cost_of(record), record.log, stop,
        scores_of(record),
    )  # fmt: skip
    if error is None:
        return BatchSuccess(record.id, True, output, None, None, None, *rest)
    reason = record.reason or reason_of(error)
    return BatchFailure(record.id, False, None, error, reason, record.place, *rest)


def cost_of(record: ItemRecord) -> ItemCost:
    """What the last attempt cost."""
    usage, money = usage_of(record)
    return ItemCost(record.wall, record.cpu, record.peak_rss, record.pid, usage, money)


def _record(active: ActiveItem, stop: StopReason | None, **known: Any) -> ItemRecord:
    return ItemRecord(
        used=used(active.usage, active.money, stop, active.scores),
        id=active.item.id,
        position=active.item.position,
        digest=active.digest,
        attempts=active.number,
        finished=time.time(),
        **known,
    )


def _log(reply: ReplyFuture) -> str:
    """What was written during the attempt: standard output, then standard error."""
    out, err = reply.stdout, reply.stderr
    return f"{out}\n{err}" if out and err and not out.endswith("\n") else out + err


def _plain(error: AgentError) -> str:
    return msgspec.json.encode(to_plain(error)).decode()


def _figures(metrics: RequestMetrics | None, error: AgentError | None) -> dict[str, Any]:
    """What an attempt cost; if the worker died, what is known from its death."""
    pid, peak = getattr(error, "pid", None), getattr(error, "peak_rss", None)
    if metrics is None:
        return {"pid": pid, "peak_rss": peak}
    complete = metrics.pid != 0  # the worker lived to send its own figures
    return {
        "wall": float(metrics.wall),
        "cpu": float(metrics.cpu_user + metrics.cpu_system) if complete else None,
        "pid": metrics.pid or pid,
        "peak_rss": metrics.peak_rss or peak,
    }
