"""A dry run: what a batch would do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from msgspec import Struct, field

from procorch.batch import values
from procorch.batch.duplicate_names import duplicate_error
from procorch.batch.input_check import CheckItem
from procorch.batch.reader import Reader
from procorch.batch.records import SourceItem

_SHOWN = 3


class Plan(Struct):
    """What a batch would do.

    Args:
        total: items in the input.
        ok: items that succeeded in earlier runs.
        failed: items that failed in earlier runs.
        changed: items with an outcome whose input has changed since.
        left: items that would be run.
        first: names of the first of them.
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
    on_left: CheckItem | None = None,
) -> Plan:
    """Read the whole input and look each item up.

    Args:
        retry_failed, redo, accept_changes: see `run_batch`.
        on_left: called with each item that would be run.

    Raises:
        BatchInputError: the input is malformed, or names an item twice.
        JournalError: the journal is damaged.
    """
    found = Plan()
    # SQLite keeps this table in a temporary file, so the names need not fit into memory.
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
                if on_left is not None:
                    on_left(item)
                if len(found.first) < _SHOWN:
                    found.first.append(item.id)
    return found
