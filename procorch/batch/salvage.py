"""Reads as much as possible of a damaged journal, and makes a valid journal of it.

SQLite ends a query at the first invalid page. So a table is read from its beginning and from its
end up to the damage, and the rows between are read one by one. The index of the items has their
names, even if their rows cannot be read.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from procorch.batch import schema
from procorch.batch.errors import JournalDamaged, JournalError

_BLIND = 100_000
"""Consecutive row numbers that are tried without success before the end is assumed."""
_SOUGHT = "SELECT rowid, id FROM items INDEXED BY sqlite_autoindex_items_1 ORDER BY id"
_KEYS = {"meta": "key", "events": "rowid", "attempts": "id, number", "gone": "id"}


def readable(path: Path) -> tuple[sqlite3.Connection, list[str]]:
    """A temporary copy of everything readable, and the names of lost items that are known.

    Raises:
        JournalError: nothing can be read.
    """
    copy = sqlite3.connect("", isolation_level=None)
    try:
        return copy, _fill(path, copy)
    except BaseException:
        copy.close()
        raise


def mend(path: Path) -> str | None:
    """Replace a damaged journal by a valid one; the damaged file is kept beside it.

    The caller holds the lock of the journal. Outcomes that cannot be read are not in the new
    journal.

    Returns:
        What was done, for a person; None: the journal is not damaged.

    Raises:
        JournalError: nothing can be read of the journal, or there is no room for the new one.
    """
    if not path.exists() or not path.stat().st_size or _is_sound(path):
        return None
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    kept = next(each for each in _names_for(path) if not each.exists())
    try:
        os.close(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with schema.explained(path):
            copy = sqlite3.connect(beside, isolation_level=None)
            with contextlib.closing(copy):
                lost = len(_fill(path, copy))
                text = f"{lost} outcomes could not be read; the damaged file is kept as {kept.name}"
                epoch = "(SELECT value FROM meta WHERE key = 'epoch')"
                copy.execute(
                    f"INSERT INTO events VALUES (?, {epoch}, 'mended', ?)", (time.time(), text)
                )
        os.link(path, kept)
        with contextlib.suppress(FileNotFoundError):
            os.rename(_log(path), _log(kept))
        os.replace(beside, path)
    except OSError as error:
        raise JournalError(f"{path} cannot be mended: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    return text


def _is_sound(path: Path) -> bool:
    try:
        with contextlib.closing(schema.connect_to_read(path)) as connection:
            return connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
    except (sqlite3.DatabaseError, JournalDamaged):
        return False


def _names_for(path: Path) -> Iterator[Path]:
    yield path.with_name(path.name + ".damaged")
    for number in itertools.count(2):
        yield path.with_name(f"{path.name}.damaged-{number}")


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _fill(path: Path, copy: sqlite3.Connection) -> list[str]:
    with _nothing_left(path), contextlib.closing(schema.connect_to_read(path, cut=True)) as source:
        schema.make(copy)
        copy.execute("BEGIN")
        for table, key in _KEYS.items():
            _copy(source, copy, table, key)
        names = _copy_items(source, copy)
        # The epoch of the last runner must not be used again.
        copy.execute(
            "INSERT OR REPLACE INTO meta SELECT 'epoch', max(epoch) FROM (SELECT value AS epoch "
            "FROM meta WHERE key = 'epoch' UNION ALL SELECT epoch FROM items UNION ALL SELECT 0)"
        )
        copy.execute("COMMIT")
    known = {name for (name,) in copy.execute("SELECT id FROM items")}
    return [name for name in names if name not in known]


@contextlib.contextmanager
def _nothing_left(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, JournalDamaged) as error:
        why = error.__cause__ or error
        raise JournalDamaged(
            f"{path} is damaged: {why}; nothing can be read of it; move it away to start over"
        ) from error


def _copy(source: sqlite3.Connection, copy: sqlite3.Connection, table: str, key: str) -> None:
    """Copy a small table, from its beginning and from its end."""
    columns = _columns(source, table)
    into = _insert(table, columns)
    seen: set[object] = set()
    for order in ("ASC", "DESC"):
        by = ", ".join(f"{each} {order}" for each in key.split(", "))
        query = f"SELECT {key}, {', '.join(columns)} FROM {table} ORDER BY {by}"
        width = key.count(",") + 1
        whole = True
        for row in _until_damage(source, query):
            if row is None:
                whole = False
            elif row[:width] not in seen:
                seen.add(row[:width])
                copy.execute(into, row[width:])
        if whole:
            return


def _copy_items(source: sqlite3.Connection, copy: sqlite3.Connection) -> list[str]:
    """Copy the items; returns the names of all items with an outcome that the index has."""
    columns = _columns(source, "items")
    into = _insert("items", columns)
    given = f"SELECT rowid, {', '.join(columns)} FROM items NOT INDEXED"
    first, last = 0, None
    whole = True
    for row in _until_damage(source, f"{given} ORDER BY rowid"):
        if row is None:
            whole = False
        else:
            first = row[0]
            copy.execute(into, row[1:])
    if whole:
        return []
    for row in _until_damage(source, f"{given} WHERE rowid > {first} ORDER BY rowid DESC"):
        if row is not None:
            last = row[0]
            copy.execute(into, row[1:])
    names: dict[int, str] = {}
    for order in ("", " DESC"):
        names |= {row[0]: row[1] for row in _until_damage(source, _SOUGHT + order) if row}
    end = last if last is not None else max(names, default=0) + 1
    vain = 0
    for number in itertools.count(first + 1):
        if number >= end and (last is not None or names or vain > _BLIND):
            break
        found = None
        for row in _until_damage(source, f"{given} WHERE rowid = {number}"):
            found = row or found
        vain = 0 if found else vain + 1
        if found:
            copy.execute(into, found[1:])
    return list(names.values())


def _until_damage(source: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...] | None]:
    """The rows of a query; a last None if the table is damaged there."""
    cursor = source.cursor()
    try:
        yield from cursor.execute(query)
    except sqlite3.DatabaseError:
        yield None
    finally:
        cursor.close()


def _columns(source: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in source.execute(f"PRAGMA table_info({table})")]


def _insert(table: str, columns: list[str]) -> str:
    values = ", ".join("?" * len(columns))
    return f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({values})"
