"""Reads and writes the tables of the history. Only the thread of the history writes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from procorch.daemon.history import file as history_file
from procorch.daemon.history.exits import ProcessExit
from procorch.daemon.history.file import HistoryError, HistoryUnwritable
from procorch.daemon.specs import HistorySettings

_EXIT = ProcessExit.__struct_fields__
_HEADS = ("time", "agent", "instance", "generation", "type")


class HistoryStore:
    """The file of the history.

    Args:
        path: the file, made where there is none.
        settings: what is kept.
        mask: hides secrets in a text.

    Attributes:
        settings: the same; it may be replaced.
        files: how often a file was begun anew, because the one before was damaged.

    Raises:
        HistoryError: the file cannot be used, or a newer procorch has written it.
    """

    def __init__(self, path: Path, settings: HistorySettings, mask: Callable[[str], str]) -> None:
        self.settings: HistorySettings = settings
        self.files: int = 0
        self._path = path
        self._mask = mask
        self._connection: sqlite3.Connection | None = None
        self._damage: str | None = None
        with contextlib.suppress(HistoryUnwritable):  # agents run on a full disk, too
            self._connection = history_file.open_to_write(path)

    def drift(self) -> dict[str, dict[str, Any]]:
        """What operators have changed by hand, as the file has it."""
        return {} if self._connection is None else history_file.drift_of(self._connection)

    def write(
        self,
        events: Sequence[Mapping[str, Any]],
        exits: Sequence[ProcessExit],
        drift: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Write all of it, or nothing.

        Args:
            drift: all that operators have changed by hand.

        Raises:
            HistoryError: the disk takes nothing now; it may be tried again.
        """
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._insert(connection, events, exits)
                if history_file.drift_of(connection) != drift:
                    history_file.write_drift(connection, drift)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            self._note(error)
            raise HistoryError(str(error)) from error

    def _open(self) -> sqlite3.Connection:
        """The connection; a file that was found damaged is replaced."""
        if self._damage is not None:
            self.close()
            history_file.move_aside(self._path, self._damage)
            self._damage = None
            self.files += 1
        if self._connection is None:
            self._connection = history_file.open_to_write(self._path)
        return self._connection

    def _note(self, error: sqlite3.Error) -> None:
        if history_file.is_damage(error):
            self._damage = str(error)

    def _insert(
        self,
        connection: sqlite3.Connection,
        events: Sequence[Mapping[str, Any]],
        exits: Sequence[ProcessExit],
    ) -> None:
        connection.executemany(
            f"INSERT INTO events ({', '.join(_HEADS)}, data) VALUES (?, ?, ?, ?, ?, ?)",
            [(*(each[it] for it in _HEADS), self._text(each)) for each in events],
        )
        connection.executemany(
            f"INSERT INTO exits ({', '.join(_EXIT)}) VALUES ({', '.join('?' * len(_EXIT))})",
            [self._masked(list(msgspec.structs.astuple(exit))) for exit in exits],
        )
        for agent in {exit.agent for exit in exits}:
            connection.execute(
                "DELETE FROM exits WHERE agent = ? AND id <= (SELECT id FROM exits "
                "WHERE agent = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (agent, agent, self.settings.exits),
            )

    def _text(self, event: Mapping[str, Any]) -> str:
        return json.dumps(self._masked(dict(event)), ensure_ascii=False)

    def _masked(self, value: Any) -> Any:
        match value:
            case str():
                return self._mask(value)
            case dict():
                return {name: self._masked(each) for name, each in value.items()}
            case list():
                return [self._masked(each) for each in value]
            case _:
                return value

    def tidy(self) -> None:
        """Remove what is too old or too much, and give the room back; trouble is for `write`."""
        connection = self._connection
        if connection is None or self._damage is not None:
            return
        try:
            self._remove_old(connection)
            self._shrink(connection)
        except sqlite3.Error as error:
            self._note(error)

    def _remove_old(self, connection: sqlite3.Connection) -> None:
        before = (time.time() - self.settings.keep,)
        connection.execute("DELETE FROM events WHERE time < ?", before)
        connection.execute("DELETE FROM exits WHERE time < ?", before)

    def _shrink(self, connection: sqlite3.Connection) -> None:
        """Remove the oldest events until the file is small enough."""

        def pragma(name: str) -> int:
            value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
            return value

        size = pragma("page_size")
        while (pragma("page_count") - pragma("freelist_count")) * size > self.settings.max_size:
            removed = connection.execute(
                "DELETE FROM events WHERE id <= "
                "(SELECT min(id) + (max(id) - min(id)) / 8 FROM events)"
            ).rowcount
            if not removed:
                break
        if pragma("freelist_count"):
            # It gives one page back for each step, and `execute` makes one step only.
            connection.executescript("PRAGMA incremental_vacuum")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def query(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Rows that a query finds, from any thread. A damaged file has none, and is replaced by the
        next `write`.

        Raises:
            HistoryError: the file cannot be read now.
        """
        try:
            with contextlib.closing(history_file.open_to_read(self._path)) as connection:
                return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self._note(error)
            if self._damage is not None:
                return []
            raise HistoryError(f"the history {self._path} cannot be read: {error}") from error

    def exits(self, agent: str, last: int) -> list[dict[str, Any]]:
        """The last exits of an agent, the oldest first."""
        found = self.query(
            f"SELECT {', '.join(_EXIT)} FROM exits WHERE agent = ? ORDER BY id DESC LIMIT ?",
            (agent, last),
        )
        return [dict(zip(_EXIT, row, strict=True)) for row in reversed(found)]

    def size(self) -> int:
        """Bytes of the file and of those beside it."""
        return history_file.size_of(self._path)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
