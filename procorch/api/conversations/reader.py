"""A store of conversations, as it is read."""

from __future__ import annotations

import builtins
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from procorch.agents.conversation_turn import SEEDED, WHOLE
from procorch.api.conversations import schema
from procorch.api.storage import files
from procorch.errors import ConversationStoreDamaged, UnknownConversation
from procorch.errors.texts import did_you_mean

_INFO = """
    SELECT agent, name, created, count(turns.id), total(count), coalesce(max(at), created),
        total(length(messages))
        + (SELECT total(length(data)) FROM states WHERE states.conversation = conversations.id)
    FROM conversations LEFT JOIN turns ON turns.conversation = conversations.id
"""


@dataclass(frozen=True, slots=True)
class ConversationInfo:
    """What is known of a conversation without reading it.

    Args:
        agent: name of the agent that it is with.
        name: its own name.
        created: Unix seconds. ``changed``: those of its last turn.
        turns: how many requests it has had, a seed counts as one.
        messages: how many messages that are.
        size: what it takes in the file, in bytes.

    Example:
        >>> info = ConversationInfo(
        ...     agent="planner", name="trip", created=0.0, changed=9.0, turns=2, messages=4, size=9
        ... )
        >>> info.messages
        4
    """

    agent: str
    name: str
    created: float
    changed: float
    turns: int
    messages: int
    size: int


class History(NamedTuple):
    """What an agent needs to go on: the form and the bytes of each turn, and what made them."""

    kind: str
    stored: list[tuple[str, bytes]]


class ConversationReader:
    """Reads a store, also while a host writes it.

    Raises:
        ConversationStoreError: there is no such file, or it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        self.connection: sqlite3.Connection = self._connect()

    def _connect(self) -> sqlite3.Connection:
        return files.connect_to_read(self.path, schema.KIND)

    def all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of a query: an unfinished statement would prevent checkpoints.

        Raises:
            ConversationStoreError: it cannot be read.
        """
        with files.explained(self.path, schema.KIND):
            return self.connection.execute(query, values).fetchall()

    def list(self, agent: str | None = None, name: str | None = None) -> list[ConversationInfo]:
        """The conversations, the one that changed last first.

        Args:
            agent, name: only those of this agent, and of this name.
        """
        rows = self.all(
            f"{_INFO} WHERE agent = coalesce(?, agent) AND name = coalesce(?, name) "
            "GROUP BY conversations.id ORDER BY 6 DESC, conversations.id DESC",
            agent,
            name,
        )
        return [
            ConversationInfo(agent, name, created, changed, turns, int(count), int(size))
            for agent, name, created, turns, count, changed, size in rows
        ]

    def number(self, agent: str, name: str) -> int | None:
        """The number of a conversation; None: there is none."""
        query = "SELECT id FROM conversations WHERE agent = ? AND name = ?"
        found = self.all(query, agent, name)
        return found[0][0] if found else None

    def must_have(self, agent: str, name: str) -> int:
        """The number of a conversation.

        Raises:
            UnknownConversation: there is none.
        """
        found = self.number(agent, name)
        if found is None:
            names = [each for (each,) in self.all("SELECT name FROM conversations LIMIT 10000")]
            hint = did_you_mean(name, names)
            text = f"agent {agent!r} has no conversation {name!r}{hint}"
            raise UnknownConversation(text, agent=agent, conversation=name)
        return found

    def read(self, agent: str, name: str) -> builtins.list[bytes]:
        """The messages of each turn, as bytes for `messages.opened`.

        Raises:
            UnknownConversation: there is no such conversation.
            ConversationStoreDamaged: a turn is not what was written.
        """
        rows = self.all(
            "SELECT id, messages, seal FROM turns WHERE conversation = ? ORDER BY id",
            self.must_have(agent, name),
        )
        for turn, messages, seal in rows:
            self._must_be(seal, agent, name, turn, messages)
        return [messages for _, messages, _ in rows]

    def history(self, agent: str, name: str) -> History:
        """What an agent needs to go on; empty for a conversation that has not begun.

        Raises:
            ConversationStoreDamaged: a part of it is not what was written.
        """
        number = self.number(agent, name)
        if number is None:
            return History("", [])
        rows = self.all(
            "SELECT turn, form, kind, data, states.seal, messages, turns.seal FROM states "
            "JOIN turns ON turns.id = turn WHERE states.conversation = ? ORDER BY turn",
            number,
        )
        kind, stored = "", list[tuple[str, bytes]]()
        for turn, form, made_by, data, seal, messages, seal_of_messages in rows:
            self._must_be(seal, agent, name, turn, form, made_by, data)
            if form == SEEDED:
                self._must_be(seal_of_messages, agent, name, turn, messages)
                data = messages
            elif form == WHOLE:
                stored.clear()
            kind = made_by or kind
            stored.append((form, data))
        return History(kind, stored)

    def _must_be(self, known: bytes, agent: str, name: str, turn: int, *columns: object) -> None:
        if known != files.seal(columns):
            raise ConversationStoreDamaged(
                f"{self.path}: turn {turn} of conversation {name!r} of agent {agent!r} is not what "
                f"was written: {schema.KIND.mending}",
                agent=agent,
                conversation=name,
            )

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *of_error: object) -> None:
        self.close()
