"""What a batch would do, without doing it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

from procorch.batch import values
from procorch.batch.duplicate_names import duplicate_error
from procorch.batch.reader import Reader
from procorch.batch.records import SourceItem

_SHOWN = 3


@dataclass(slots=True)
class Plan:
    """What is to be done.

    Args:
        total: items in the input.
        ok: those that have succeeded before, ``failed`` those that have not.
        changed: those of them whose input has changed since.
        left: those that are to be run.
        first: names of some of them.
    """

    total: int = 0
    ok: int = 0
    failed: int = 0
    changed: int = 0
    left: int = 0
    first: list[str] = field(default_factory=list)


def plan(
    items: Iterator[SourceItem],
    journal: Reader | None,
    *,
    retry_failed: bool = False,
    redo: bool = False,
    accept_changes: bool = False,
) -> Plan:
    """Read the whole input and look each item up.

    Args:
        retry_failed, redo, accept_changes: see `run_batch`.

    Raises:
        BatchInputError: a part of the input makes no sense, or an item is there twice.
        JournalError: the journal is damaged.
    """
    found = Plan()
    # A table that SQLite keeps in a temporary file: the names may be more than memory holds.
    with closing(sqlite3.connect("")) as names:
        names.execute("CREATE TABLE names (id TEXT PRIMARY KEY, place TEXT) WITHOUT ROWID")
        for item in items:
            try:
                names.execute("INSERT INTO names VALUES (?, ?)", (item.id, item.where))
            except sqlite3.IntegrityError:
                ((before,),) = names.execute("SELECT place FROM names WHERE id = ?", (item.id,))
                raise duplicate_error(item, before) from None
            found.total += 1
            row = None if journal is None else journal.find(item.id)
            again = redo
            if row is not None:
                changed = row.digest != values.digest(item.value, *item.more)
                found.ok += row.ok
                found.failed += not row.ok
                found.changed += changed
                again |= (retry_failed and not row.ok) or (accept_changes and changed)
            if row is None or again:
                found.left += 1
                if len(found.first) < _SHOWN:
                    found.first.append(item.id)
    return found
