"""Outcomes of attempts as records of the journal, and back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from procorch.batch import values
from procorch.batch.items import BatchFailure, BatchItem, BatchSuccess, ItemCost
from procorch.batch.options import ActiveItem
from procorch.batch.reasons import place_of, reason_of
from procorch.batch.records import AttemptRecord, ItemRecord
from procorch.errors import AgentError, SerializationError
from procorch.errors.plain_data import from_plain, to_plain
from procorch.messages import RequestMetrics

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


def success(active: ActiveItem, output: str | bytes, reply: ReplyFuture) -> ItemRecord:
    """The final outcome of an item that succeeded."""
    return _record(active, ok=True, output=output, log=_log(reply), **_figures(reply.metrics, None))


def failure(active: ActiveItem, error: AgentError, last: AttemptRecord) -> ItemRecord:
    """The final outcome of an item that failed, with the figures of its last attempt."""
    value = active.item.value
    return _record(
        active,
        ok=False,
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
    rest = (record.attempts, record.position, resumed, cost_of(record), record.log)
    if error is None:
        return BatchSuccess(record.id, True, output, None, None, None, *rest)
    reason = record.reason or reason_of(error)
    return BatchFailure(record.id, False, None, error, reason, record.place, *rest)


def cost_of(record: ItemRecord) -> ItemCost:
    """What the last attempt cost."""
    return ItemCost(record.wall, record.cpu, record.peak_rss, record.pid)


def _record(active: ActiveItem, **known: Any) -> ItemRecord:
    return ItemRecord(
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
