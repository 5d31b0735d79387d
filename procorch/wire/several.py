"""Several objects in one body, each of which is sealed, and loads or fails to, alone.

An item whose class is simple stays as it is, so that a chunk of numbers is one small pickle. Any
other becomes a body of its own inside: what cannot be serialised or loaded is then one item and not
its neighbours, and no two items share an object that they would not share if they came alone.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any, NamedTuple

from procorch.errors import AgentError, SerializationError
from procorch.wire import codec
from procorch.wire.culprit import say
from procorch.wire.payload import Buffer

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


def seal_all(items: list[Any], *, what: str) -> list[Any]:
    """Each of ``items`` as it travels; raises like `seal`."""
    if SIMPLE.issuperset(map(type, items)):
        return items
    return [seal(item, what=what) for item in items]


def opened(entry: Any, *, what: str) -> Any:
    """The item that was sealed.

    Raises:
        SerializationError: it does not load here.
    """
    return codec.decode(entry[0], what=what) if type(entry) is tuple else entry


class Broken(NamedTuple):
    """Stands in for an item that does not load here."""

    error: AgentError


def try_open(entries: Iterable[Any], *, what: str) -> list[Any]:
    """The items; a `Broken` in place of one that does not load."""
    found: list[Any] = []
    for entry in entries:
        if type(entry) is tuple:
            try:
                entry = codec.decode(entry[0], what=what)
            except AgentError as error:
                entry = Broken(error)
        found.append(entry)
    return found


def dump(entries: list[Any]) -> bytes:
    """Sealed items as one body."""
    return pickle.dumps(entries, 5)


def load(body: Buffer, *, what: str) -> list[Any]:
    """The sealed items of a body.

    Raises:
        SerializationError: the bytes are damaged.
    """
    try:
        entries = pickle.loads(body)
        if type(entries) is not list:
            raise pickle.UnpicklingError(f"{type(entries).__name__} in place of a list")
    except Exception as error:
        raise SerializationError(what=what, reason=f"cannot be loaded: {say(error)}") from error
    return entries
