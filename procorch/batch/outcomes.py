"""Outcomes of attempts as facts for the journal, and back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from procorch.batch import values
from procorch.batch.items import Attempt, BatchItem, ItemCost, Row, place_of, reason_of
from procorch.batch.options import Flight
from procorch.errors import AgentError, SerializationError
from procorch.errors.plain_data import from_plain, to_plain
from procorch.messages import RequestMetrics

if TYPE_CHECKING:
    from procorch.api.handle import ReplyFuture

_LARGEST = 900_000_000
"""Bytes of an output: SQLite takes no more than a billion."""


def packed(output: object) -> str | bytes:
    """An output as it is kept.

    Raises:
        SerializationError: it cannot be kept.
    """
    try:
        data = values.pack(output)
    except Exception as error:
        why = f"cannot be kept: {type(error).__name__}: {error}"
        raise SerializationError(what="output", reason=why) from None
    if len(data) > _LARGEST:
        raise SerializationError(what="output", reason=f"{len(data)} bytes are too many to keep")
    return data


def success(flight: Flight, output: str | bytes, reply: ReplyFuture) -> Row:
    """The final outcome of an item that succeeded."""
    return _row(flight, ok=True, output=output, log=_log(reply), **_figures(reply.metrics, None))


def failure(flight: Flight, error: AgentError, last: Attempt) -> Row:
    """The final outcome of an item that failed, with the figures of its last attempt."""
    value = flight.item.value
    return _row(
        flight,
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


def attempt(flight: Flight, error: AgentError, reply: ReplyFuture | None) -> Attempt:
    """An attempt that failed; without a reply the item could not be sent."""
    return Attempt(
        id=flight.item.id,
        number=flight.number,
        reason=reason_of(error),
        place=place_of(error),
        error=_plain(error),
        finished=time.time(),
        log="" if reply is None else _log(reply),
        **_figures(None if reply is None else reply.metrics, error),
    )


def error_of(fact: Row | Attempt) -> AgentError | None:
    """The error of a failure as it was."""
    return None if fact.error is None else from_plain(msgspec.json.decode(fact.error))


def item_of(row: Row) -> BatchItem:
    """A finished item as it is in the journal.

    Raises:
        Unreadable: its output cannot be loaded here.
    """
    output = None if row.output is None else values.unpack(row.output)
    return BatchItem(
        row.id, row.ok, output, error_of(row), row.reason, row.place, row.attempts, row.position,
        resumed=True, cost=cost_of(row), log=row.log,
    )  # fmt: skip


def cost_of(row: Row) -> ItemCost:
    """The figures of the last attempt."""
    return ItemCost(row.wall, row.cpu, row.peak_rss, row.pid)


def _row(flight: Flight, **known: Any) -> Row:
    return Row(
        id=flight.item.id,
        position=flight.item.position,
        digest=flight.digest,
        attempts=flight.number,
        finished=time.time(),
        **known,
    )


def _log(reply: ReplyFuture) -> str:
    """What was printed meanwhile: first the one stream, then the other."""
    out, err = reply.stdout, reply.stderr
    return f"{out}\n{err}" if out and err and not out.endswith("\n") else out + err


def _plain(error: AgentError) -> str:
    return msgspec.json.encode(to_plain(error)).decode()


def _figures(metrics: RequestMetrics | None, error: AgentError | None) -> dict[str, Any]:
    """What an attempt cost; of a worker that did not live to tell, what is known of its end."""
    pid, peak = getattr(error, "pid", None), getattr(error, "peak_rss", None)
    if metrics is None:
        return {"pid": pid, "peak_rss": peak}
    told = metrics.pid != 0
    return {
        "wall": float(metrics.wall),
        "cpu": float(metrics.cpu_user + metrics.cpu_system) if told else None,
        "pid": metrics.pid or pid,
        "peak_rss": metrics.peak_rss or peak,
    }
