"""An item as it is read, and its outcome and its failed attempts as the journal keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

import msgspec

from procorch.messages import Cost, StopReason, Usage


class SourceItem(msgspec.Struct, frozen=True):
    """One item as it was read.

    Args:
        id: its name, unique in the input.
        value: what the agent gets.
        position: place in the input, from 0.
        where: the same for a person: "questions.jsonl:17".
        more: further values that identify the content, such as the size and time of a file.
    """

    id: str
    value: Any
    position: int
    where: str
    more: tuple[object, ...] = ()


class ItemRecord(msgspec.Struct, kw_only=True):
    """The final outcome of an item as the journal keeps it; the fields are the columns.

    Args:
        digest: hash of the value of the item.
        place: where in the code the item failed, or what its worker died of.
        error: the error as plain data, in JSON.
        output: JSON text or a pickle, see `values`.
        wall: seconds in the worker.
        cpu: user and system time of the worker, in seconds.
        finished: when, in Unix seconds.
        epoch: number of the runner that wrote the record.
        input: value of an item that failed, as JSON text, so that it can be tried again by itself.
        log: what was written to standard output and error during the attempt.
        used: what a model was used for it, and its scores, in JSON (`used`).
    """

    id: str
    position: int
    digest: bytes
    ok: bool
    reason: str | None = None
    place: str | None = None
    error: str | None = None
    output: str | bytes | None = None
    attempts: int = 1
    wall: float | None = None
    cpu: float | None = None
    peak_rss: int | None = None
    pid: int | None = None
    finished: float = 0.0
    epoch: int = 0
    input: str | None = None
    log: str = ""
    used: str | None = None


class AttemptRecord(msgspec.Struct, kw_only=True):
    """An attempt that failed, as the journal keeps it; see `ItemRecord`."""

    id: str
    number: int
    reason: str
    place: str
    error: str
    wall: float | None = None
    cpu: float | None = None
    peak_rss: int | None = None
    pid: int | None = None
    finished: float = 0.0
    epoch: int = 0
    log: str = ""


def used(
    usage: Usage, money: Cost, stop: StopReason | None, scores: Mapping[str, float]
) -> str | None:
    """What a model was used for an item, and its scores, for `ItemRecord.used`; None: nothing."""
    found: dict[str, Any] = {}
    if usage.total or money.total:
        found["tokens"] = list(astuple(usage))
        found["dollars"] = list(astuple(money))
    if stop is not None and (found or stop is not StopReason.STOP):
        found["stop_reason"] = stop.value
    if scores:
        found["scores"] = dict(scores)
    return msgspec.json.encode(found).decode() if found else None


def usage_of(record: ItemRecord) -> tuple[Usage, Cost]:
    """Tokens and dollars of the attempts at an item."""
    found = _used(record)
    return Usage(*found.get("tokens", ())), Cost(*found.get("dollars", ()))


def stop_of(record: ItemRecord) -> StopReason | None:
    """Why the model stopped; None where none was asked or it gave no answer."""
    stop = _used(record).get("stop_reason")
    return None if stop is None else StopReason(stop)


def scores_of(record: ItemRecord) -> dict[str, float]:
    """The scores of an item by name; empty where it was not scored."""
    return dict(_used(record).get("scores", ()))


def _used(record: ItemRecord) -> dict[str, Any]:
    found: dict[str, Any] = {} if record.used is None else msgspec.json.decode(record.used)
    return found
