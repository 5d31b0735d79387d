"""The only writer of a store of conversations."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from procorch.agents.conversation_turn import SEEDED, SELF_SAVED, WHOLE
from procorch.api.conversations import schema
from procorch.api.conversations.reader import ConversationReader
from procorch.api.storage import disk, files
from procorch.api.storage.ownership import Ownership
from procorch.errors import ConversationError, ConversationExists, ConversationStoreError
from procorch.futures.kept import KeptTurn

_GONE = "while its conversations were under way, and what was said with it: put it back"


class ConversationFile(ConversationReader):
    """Writes a store; it makes the file if there is none.

    Its methods that write are called inside `transaction`.

    Raises:
        ConversationStoreError: the file cannot be used; another process writes it, it is damaged,
            or it has a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._owner = Ownership(path, schema.KIND, gone=_GONE)
        try:
            files.create(path, schema.KIND)
            super().__init__(path)
            self._owner.hold()
            with files.explained(path, schema.KIND):
                # What was forgotten is overwritten in the file.
                self.connection.execute("PRAGMA secure_delete = ON").fetchall()
                self.connection.execute("BEGIN IMMEDIATE")
                self._owner.take(self.connection)
                self.connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(AttributeError):  # it was not opened
                self.connection.close()
            self._owner.release()
            raise

    def _connect(self) -> sqlite3.Connection:
        return files.connect(self.path, schema.KIND)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block writes.

        Raises:
            ConversationStoreError: nothing of it is stored; on a full disk as well.
        """
        try:
            with self._owner.transaction(self.connection):
                yield
        except sqlite3.Error as error:
            if disk.may_pass(error):
                text = disk.trouble(self.path, error)
                disk.make_room(self.connection)
                raise ConversationStoreError(text) from error
            with files.explained(self.path, schema.KIND):
                raise

    def attempt(self, write: Callable[[], Any]) -> tuple[Any, ConversationError | None]:
        """Write one of several things in a transaction.

        Returns:
            What ``write`` returns; or the error that it raised, and then it has written nothing.
        """
        self.connection.execute("SAVEPOINT one")
        try:
            result = write()
        except ConversationError as error:
            self.connection.execute("ROLLBACK TO one")
            self.connection.execute("RELEASE one")
            return None, error
        self.connection.execute("RELEASE one")
        return result, None

    def add(self, agent: str, name: str, turn: KeptTurn) -> None:
        """Add a turn to a conversation, which begins with its first one."""
        number = self.number(agent, name)
        if number is None:
            number = self._begin(agent, name)
        added = self._add(number, turn.length, turn.messages)
        if turn.form is not None:
            if turn.form == WHOLE:
                self.connection.execute("DELETE FROM states WHERE conversation = ?", (number,))
            self._put_state(added, number, turn.form, turn.kind, turn.state)

    def seed(self, agent: str, name: str, count: int, messages: bytes) -> None:
        """Begin a conversation with messages.

        Raises:
            ConversationExists: it has begun.
        """
        self._must_be_new(agent, name)
        number = self._begin(agent, name)
        self._put_state(self._add(number, count, messages), number, SEEDED, "", b"")

    def trim(self, agent: str, name: str, turns: int) -> int:
        """Keep the last turns only; returns how many were removed."""
        number = self.must_have(agent, name)
        run = self.connection.execute
        last = "SELECT id FROM turns WHERE conversation = ? ORDER BY id DESC LIMIT ?"
        oldest = run(f"SELECT min(id) FROM ({last})", (number, turns)).fetchone()[0]
        older = (number, oldest)
        # The state of an agent that saves itself is not what was said: it stays.
        run(
            "UPDATE states SET turn = ? WHERE conversation = ? AND turn < ? AND kind IN (?, ?)",
            (oldest, *older, *SELF_SAVED),
        )
        run("DELETE FROM states WHERE conversation = ? AND turn < ?", older)
        return run("DELETE FROM turns WHERE conversation = ? AND id < ?", older).rowcount

    def fork(self, agent: str, name: str, other: str) -> None:
        """Begin another conversation with all that was said in this one.

        Raises:
            ConversationExists: the other one has begun.
        """
        source = self.must_have(agent, name)
        self._must_be_new(agent, other)
        target = self._begin(agent, other)
        run = self.connection.execute
        query = "SELECT id, at, count, messages, seal FROM turns WHERE conversation = ? ORDER BY id"
        for turn, *columns in run(query, (source,)).fetchall():
            added = run(
                "INSERT INTO turns (conversation, at, count, messages, seal) "
                "VALUES (?, ?, ?, ?, ?)",
                (target, *columns),
            ).lastrowid
            run(
                "INSERT INTO states SELECT ?, ?, form, kind, data, seal FROM states WHERE turn = ?",
                (added, target, turn),
            )

    def forget(self, agent: str, name: str) -> None:
        """Remove a conversation.

        Raises:
            UnknownConversation: there is none.
        """
        number = self.must_have(agent, name)
        for table, column in (("states", "conversation"), ("turns", "conversation")):
            self.connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))
        self.connection.execute("DELETE FROM conversations WHERE id = ?", (number,))

    def settle(self) -> None:
        """Move what was committed into the file, so that its log has nothing that was removed."""
        disk.make_room(self.connection)

    def _must_be_new(self, agent: str, name: str) -> None:
        if self.number(agent, name) is not None:
            raise ConversationExists(agent=agent, conversation=name)

    def _begin(self, agent: str, name: str) -> int:
        query = "INSERT INTO conversations (agent, name, created) VALUES (?, ?, ?)"
        return _row(self.connection.execute(query, (agent, name, time.time())))

    def _add(self, number: int, count: int, messages: bytes) -> int:
        query = "INSERT INTO turns (conversation, at, count, messages, seal) VALUES (?, ?, ?, ?, ?)"
        values = (number, time.time(), count, messages, files.seal((messages,)))
        return _row(self.connection.execute(query, values))

    def _put_state(self, turn: int, number: int, form: str, kind: str, data: bytes) -> None:
        self.connection.execute(
            "INSERT INTO states VALUES (?, ?, ?, ?, ?, ?)",
            (turn, number, form, kind, data, files.seal((form, kind, data))),
        )

    def close(self) -> None:
        """Close the file and release its lock."""
        try:
            super().close()
        finally:
            self._owner.release()


def _row(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None
    return cursor.lastrowid
