"""Several objects in one body, each of which is sealed, and loads or fails to, alone.

An item whose class is simple stays as it is, so that a chunk of numbers is one small pickle. Any
other becomes a body of its own inside: what cannot be serialised or loaded is then one item and not
its neighbours, and no two items share an object that they would not share if they came alone.
"""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

from procorch.errors import AgentError, SerializationError
from procorch.wire import codec
from procorch.wire.payload import Buffer
from procorch.wire.pickle_diagnostics import say

SIMPLE = frozenset({str, bytes, int, float, bool, type(None)})
"""Classes of which an object refers to no other; all others are sealed."""


def seal(item: Any, *, what: str) -> Any:
    """An item as it travels among others: itself, or its body in a tuple.

    Args:
        what: what an error calls it.

    Raises:
        SerializationError: with the path to the part that cannot be serialised.
    """
    return item if type(item) in SIMPLE else (b"".join(codec.encode(item, what=what)),)


def opened(entry: Any, *, what: str) -> Any:
    """The item that was sealed.

    Raises:
        SerializationError: it does not load here.
    """
    return codec.decode(entry[0], what=what) if type(entry) is tuple else entry


class Broken(NamedTuple):
    """Stands in for an item that does not load here."""

    error: AgentError


class Several(NamedTuple):
    """Sealed items; ``simple``: each of them is what it was."""

    simple: bool
    entries: list[Any]

    @classmethod
    def of(cls, items: list[Any], *, what: str) -> Several:
        """Seal each of ``items``; raises like `seal`."""
        if SIMPLE.issuperset(map(type, items)):
            return cls(True, items)
        return cls(False, [seal(item, what=what) for item in items])

    def dump(self) -> bytes:
        """All of it as one body."""
        return pickle.dumps((self.simple, self.entries), 5)

    @classmethod
    def load(cls, body: Buffer, *, what: str) -> Several:
        """What was dumped.

        Raises:
            SerializationError: the bytes are damaged.
        """
        try:
            simple, entries = pickle.loads(body)
        except Exception as error:
            why = f"cannot be loaded: {say(error)}"
            raise SerializationError(what=what, reason=why) from error
        return cls(simple, entries)

    def items(self, *, what: str) -> list[Any]:
        """The items; a `Broken` in place of one that does not load."""
        if self.simple:
            return self.entries
        return [_try_open(entry, what) for entry in self.entries]


def _try_open(entry: Any, what: str) -> Any:
    try:
        return opened(entry, what=what)
    except AgentError as error:
        error.may_have_executed = what == "reply"
        return Broken(error)
