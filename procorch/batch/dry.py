"""What a batch would do, without doing it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

from procorch.batch import values
from procorch.batch.errors import BatchInputError
from procorch.batch.items import SourceItem
from procorch.batch.journal import Reader

_SHOWN = 3


@dataclass(slots=True)
class Plan:
    """What is to be done.

    Args:
        total: items in the input.
        ok: those that have succeeded before, ``failed`` those that have not.
        changed: those of them whose input has changed since.
        first: names of some that are to be run.
    """

    total: int = 0
    ok: int = 0
    failed: int = 0
    changed: int = 0
    first: list[str] = field(default_factory=list)


def plan(items: Iterator[SourceItem], journal: Reader | None) -> Plan:
    """Read the whole input and look each item up.

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
                raise BatchInputError(
                    f"item {item.id!r} is there twice: {before}, and {item.where}"
                ) from None
            found.total += 1
            row = None if journal is None else journal.find(item.id)
            if row is not None:
                found.ok += row.ok
                found.failed += not row.ok
                found.changed += row.digest != values.digest(item.value, *item.more)
            elif len(found.first) < _SHOWN:
                found.first.append(item.id)
    return found
