"""The tables of a store of conversations.

A turn has its messages; a state, in a table of its own, is what the agent needs to go on. A state
that replaces those before it removes them. Both have a seal, a hash of their columns, by which a
row that is not what was written is noticed when it is read.
"""

from __future__ import annotations

from procorch.api.storage.kind import FileKind
from procorch.errors import (
    ConversationStoreBusy,
    ConversationStoreDamaged,
    ConversationStoreError,
    ConversationStoreMismatch,
)

MIGRATIONS = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE conversations (
        id INTEGER PRIMARY KEY AUTOINCREMENT, agent TEXT NOT NULL, name TEXT NOT NULL,
        created REAL NOT NULL, UNIQUE (agent, name)
    );
    CREATE TABLE turns (
        id INTEGER PRIMARY KEY AUTOINCREMENT, conversation INTEGER NOT NULL, at REAL NOT NULL,
        count INTEGER NOT NULL, messages BLOB NOT NULL, seal BLOB NOT NULL
    );
    CREATE INDEX turns_of ON turns (conversation, id);
    CREATE TABLE states (
        turn INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, form TEXT NOT NULL,
        kind TEXT NOT NULL, data BLOB NOT NULL, seal BLOB NOT NULL
    );
    CREATE INDEX states_of ON states (conversation, turn);
    """,
)
"""Each changes a file from one version to the next."""

KIND: FileKind = FileKind(
    noun="a store of conversations",
    absent="store of conversations",
    lock="the lock of a store of conversations",
    other="file",
    application_id=0x70726376,  # "prcv"
    migrations=MIGRATIONS,
    error=ConversationStoreError,
    busy=ConversationStoreBusy,
    fenced=ConversationStoreBusy,
    mismatch=ConversationStoreMismatch,
    damaged=ConversationStoreDamaged,
    mending="put a copy from a backup in its place; `sqlite3 FILE .recover` gives what can be read",
)
