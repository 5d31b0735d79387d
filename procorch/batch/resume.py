"""Whether a journal belongs to this batch; the error shows what has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from procorch.batch import identity, values
from procorch.batch.errors import JournalMismatch
from procorch.batch.reader import Reader
from procorch.batch.records import SourceItem

_SHOWN = 5


def check(
    journal: Reader,
    header: dict[str, Any],
    items: Callable[[], Iterator[SourceItem]],
    *,
    resume: bool,
    redo: bool,
    accept_changes: bool,
) -> tuple[str, bool]:
    """Refuse to resume a journal of another batch.

    Args:
        header: description of this batch, as it will be in the journal.
        items: reads the input from its beginning.

    Returns:
        The kind of event that the journal records, and whether the input is known to be unchanged.

    Raises:
        JournalMismatch: see `run_batch`.
    """
    then = journal.header()
    ok, failed = journal.counts()
    if not then or not (ok or failed or journal.attempted()):
        return "started", False
    if redo:
        return "started over", False
    if not resume:
        done = f"{ok} items succeeded, {failed} failed"
        raise JournalMismatch(
            f"{journal.path} has a batch already ({done}): resume=True (--resume) goes on with it, "
            "redo=True (--redo) forgets it and starts over"
        )
    for word, known in (("shard", "no shard"), ("id", "its field id, or its place")):
        if then.get(word) != header[word]:
            raise JournalMismatch(
                f"{journal.path} is that of another batch: {word} was {then.get(word) or known}, "
                f"and is {header[word] or known}"
            )
    if not accept_changes:
        _same_factory(journal, then, header)
    before, now = then.get("fingerprint"), header["fingerprint"]
    if before and now and before != now and not accept_changes:
        raise JournalMismatch(
            f"the input has changed since {_when(then)}: {_difference(journal, items())}. "
            "accept_changes=True (--accept-changes) runs what has changed again, and what is new"
        )
    return "resumed", bool(before and before == now)


def _same_factory(journal: Reader, then: dict[str, Any], now: dict[str, Any]) -> None:
    what = "accept_changes=True (--accept-changes) goes on and keeps the outcomes that there are"
    if then["factory"].rpartition(":")[2] != now["factory"].rpartition(":")[2]:
        raise JournalMismatch(
            f"{journal.path} is that of another factory: {then['factory']}, not {now['factory']}; "
            + what
        )
    if then["recipe"] != now["recipe"]:
        raise JournalMismatch(
            f"the factory {now['factory']} has changed since {_when(then)}; {what}\n"
            + identity.difference(then["recipe"], now["recipe"])
        )


def _difference(journal: Reader, items: Iterator[SourceItem]) -> str:
    changed: list[str] = []
    known = new = 0
    for item in items:
        row = journal.find(item.id)
        if row is None:
            new += 1
            continue
        known += 1
        if row.digest != values.digest(item.value, *item.more):
            changed.append(f"{item.id} ({item.where})")
    gone = sum(journal.counts()) - known
    parts = []
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        parts.append(f"other input for {', '.join(changed[:_SHOWN])}{more}")
    if gone > 0:
        parts.append(f"{gone} finished items are no longer there")
    parts.append(f"{new} items are new or were not finished")
    return ", ".join(parts)


def _when(header: dict[str, Any]) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(header["at"]))
