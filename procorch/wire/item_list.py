"""Several objects in one body, each of which is serialised and loads alone.

If all items are of simple classes they are not serialised one by one, so that a chunk of numbers is
one small pickle. Otherwise each item becomes a body of its own inside. So an item that cannot be
serialised or loaded does not affect the others, and two items share no object that they would not
share if they were sent alone. Such a body is usually a bare pickle: `codec.encode` takes five times
as long.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

from procorch.errors import AgentError, SerializationError
from procorch.wire import codec
from procorch.wire.payload import Buffer
from procorch.wire.pickle_diagnostics import say

SIMPLE = frozenset({str, bytes, int, float, bool, type(None)})
"""Classes whose objects refer to no others; other items are sealed (serialised one by one)."""


def seal(item: Any, *, what: str) -> bytes:
    """Serialise one item; `opened` is the inverse.

    Args:
        what: the name of the item in an error.

    Raises:
        SerializationError: a part cannot be serialised; the error has the path to it.
    """
    try:
        made = pickle.dumps(item, 5)
    except Exception:
        made = b""  # `codec.encode` may succeed, and its error has the path.
    if made and codec.is_complete((item,), made):
        return made
    return b"".join(codec.encode(item, what=what))


def seal_all(items: Sequence[Any], *, what: str) -> list[bytes]:
    """Serialise each item; raises like `seal`."""
    try:
        made = [pickle.dumps(item, 5) for item in items]
    except Exception:
        made = []
    if len(made) == len(items) and codec.is_complete(items, b"".join(made)):
        return made
    return [seal(item, what=what) for item in items]


def opened(body: Buffer, *, what: str) -> Any:
    """Load an item that `seal` has serialised.

    Raises:
        SerializationError: it does not load here.
    """
    if body[0] == codec.BARE:
        try:
            return pickle.loads(body)
        except (AttributeError, ImportError):
            pass  # `codec.decode` knows more places to look.
        except (Exception, SystemExit) as error:
            raise codec.cannot_load(what, error) from error
    return codec.decode(body, what=what)


def open_all(bodies: Sequence[Buffer], *, what: str) -> list[Any]:
    """Load all items; a `BrokenItem` takes the place of one that does not load."""
    found: list[Any] = []
    for body in bodies:
        try:
            found.append(opened(body, what=what))
        except AgentError as error:
            error.may_have_executed = what == "reply"
            found.append(BrokenItem(error))
    return found


class BrokenItem(NamedTuple):
    """Takes the place of an item that does not load here."""

    error: AgentError


class ItemList(NamedTuple):
    """Items to send, or received.

    Args:
        simple: each entry is the item itself; else each entry is a sealed item.
        entries: one for each item.
        prelude: a sealed object that the agent gets before the items; the agent returns the
            function that answers them. b"": none.
        rows: each item is a tuple of arguments.
    """

    simple: bool
    entries: Sequence[Any]
    prelude: bytes = b""
    rows: bool = False

    @classmethod
    def of(cls, items: Sequence[Any], *, what: str, prelude: bytes = b"") -> ItemList:
        """Seal ``items``; raises like `seal`. Those of a range are made where they are used."""
        if type(items) is range or SIMPLE.issuperset(map(type, items)):
            return cls(True, items, prelude)
        return cls(False, seal_all(items, what=what), prelude)

    @classmethod
    def of_rows(cls, rows: list[tuple[Any, ...]], *, what: str, prelude: bytes = b"") -> ItemList:
        """The same for tuples of arguments."""
        if SIMPLE.issuperset(map(type, chain.from_iterable(rows))):
            return cls(True, rows, prelude, True)
        return cls(False, seal_all(rows, what=what), prelude, True)

    def part(self, start: int, stop: int | None = None) -> ItemList:
        """Some of the items."""
        return self._replace(entries=self.entries[start:stop])

    def dump(self) -> bytes:
        """Serialise the list as one body."""
        return pickle.dumps(tuple(self), 5)

    @classmethod
    def load(cls, body: Buffer, *, what: str) -> ItemList:
        """Load a body that `dump` has made.

        Raises:
            SerializationError: the bytes are damaged.
        """
        try:
            simple, entries, prelude, rows = pickle.loads(body)
        except Exception as error:
            why = f"cannot be loaded: {say(error)}"
            raise SerializationError(what=what, reason=why) from error
        return cls(simple, entries, prelude, rows)

    def items(self, *, what: str) -> list[Any]:
        """The items; a `BrokenItem` takes the place of one that does not load."""
        if self.simple:
            return self.entries if isinstance(self.entries, list) else list(self.entries)
        return open_all(self.entries, what=what)
