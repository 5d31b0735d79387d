"""Outcomes in formats that other tools read."""

from __future__ import annotations

import csv
import io
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

import msgspec

from procorch.agents.json_form import plain, text
from procorch.batch.class_loading import UnreadableValue, load_anyhow
from procorch.batch.errors import BatchError
from procorch.batch.items import BatchItem, ItemCost
from procorch.batch.outcomes import cost_of, error_of
from procorch.batch.records import ItemRecord, scores_of, stop_of
from procorch.errors import AgentCrashed, AgentError, CommandFailed
from procorch.messages import StopReason

FORMATS = ("jsonl", "csv", "joblog", "parquet")


def fields_of(row: ItemRecord, folder: str | None = None) -> dict[str, Any]:
    """An outcome as one flat row of plain data, see `plain`.

    Args:
        folder: where the app was, to load results of its own classes.
    """
    if row.output is None:
        output = None
    elif isinstance(row.output, str):
        output = msgspec.json.decode(row.output)
    else:
        try:
            output = plain(load_anyhow(row.output, folder))
        except UnreadableValue as error:
            output = f"<{error}>"
    return _fields(
        row.id,
        row.ok,
        output,
        row.reason,
        row.place,
        error_of(row),
        row.attempts,
        cost_of(row),
        stop_of(row),
        scores_of(row),
    )


def fields_of_item(item: BatchItem) -> dict[str, Any]:
    """The same for an item that was just handed out."""
    return _fields(
        item.id, item.ok, plain(item.output), item.reason, item.place, item.error, item.attempts,
        item.cost, item.stop_reason, item.scores,
    )  # fmt: skip


def _fields(
    id: str, ok: bool, output: Any, reason: str | None, place: str | None,
    error: AgentError | None, attempts: int, cost: ItemCost,
    stop: StopReason | None, scores: Mapping[str, float],
) -> dict[str, Any]:  # fmt: skip
    return {
        "id": id,
        "ok": ok,
        "output": output,
        "reason": reason,
        "place": place,
        "error": None if error is None else text(str(error)),
        "attempts": attempts,
        "wall": cost.wall,
        "cpu": cost.cpu,
        "peak_rss": cost.peak_rss,
        "pid": cost.pid,
        "stop_reason": None if stop is None else stop.value,
        "input_tokens": cost.usage.input,
        "output_tokens": cost.usage.output,
        "cache_read": cost.usage.cache_read,
        "cache_write": cost.usage.cache_write,
        "dollars": cost.money.total,
        "scores": dict(scores) or None,
    }


def jsonl(rows: Iterable[ItemRecord], folder: str | None = None) -> Iterator[str]:
    """One JSON object for each line."""
    for row in rows:
        yield msgspec.json.encode(fields_of(row, folder)).decode() + "\n"


def comma_separated(rows: Iterable[ItemRecord], folder: str | None = None) -> Iterator[str]:
    """CSV with a line of names; outputs that are not text are JSON."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(_names())
    for row in rows:
        fields = fields_of(row, folder)
        if not isinstance(fields["output"], str | None):
            fields["output"] = msgspec.json.encode(fields["output"]).decode()
        fields["scores"] = _json(fields["scores"])
        writer.writerow(fields.values())
        yield lines.getvalue()
        lines.seek(0)
        lines.truncate()
    yield lines.getvalue()


def joblog(rows: Iterable[ItemRecord], folder: str | None = None) -> Iterator[str]:
    """The format of the log of GNU parallel."""
    yield "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"
    host = socket.gethostname()
    for row in rows:
        wall, error = row.wall or 0.0, error_of(row)
        code, ended_by = 0 if row.ok else 1, 0
        if isinstance(error, AgentCrashed) and error.signal in signal.Signals.__members__:
            code, ended_by = 0, signal.Signals[str(error.signal)].value
        elif isinstance(error, AgentCrashed) and error.exitcode is not None:
            code = error.exitcode
        elif isinstance(error, CommandFailed) and error.code:
            code = error.code
        name = " ".join(row.id.split())
        began = row.finished - wall
        fields = (row.position + 1, host, f"{began:.3f}", f"{wall:.3f}", 0, 0, code, ended_by, name)
        yield "\t".join(map(str, fields)) + "\n"


TEXTS: Mapping[str, Callable[[Iterable[ItemRecord], str | None], Iterator[str]]] = {
    "jsonl": jsonl,
    "csv": comma_separated,
    "joblog": joblog,
}
"""The formats that are text."""


def write_parquet(rows: Iterable[ItemRecord], file: IO[bytes], folder: str | None = None) -> None:
    """Parquet; outputs are JSON.

    Raises:
        BatchError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise BatchError(
            "Parquet takes pyarrow, which is not installed: pip install 'procorch[parquet]'"
        ) from None
    kinds = {
        "ok": pyarrow.bool_(), "attempts": pyarrow.int64(), "wall": pyarrow.float64(),
        "cpu": pyarrow.float64(), "peak_rss": pyarrow.int64(), "pid": pyarrow.int64(),
        "input_tokens": pyarrow.int64(), "output_tokens": pyarrow.int64(),
        "cache_read": pyarrow.int64(), "cache_write": pyarrow.int64(),
        "dollars": pyarrow.float64(),
    }  # fmt: skip
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in _names()])
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        held: list[dict[str, Any]] = []
        for row in rows:
            fields = fields_of(row, folder)
            if row.ok:
                fields["output"] = msgspec.json.encode(fields["output"]).decode()
            fields["scores"] = _json(fields["scores"])
            held.append(fields)
            if len(held) == 1000:
                writer.write_table(pyarrow.Table.from_pylist(held, schema))
                held.clear()
        writer.write_table(pyarrow.Table.from_pylist(held, schema))


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _names() -> list[str]:
    return list(_fields("", True, None, None, None, None, 1, ItemCost(), None, {}))
