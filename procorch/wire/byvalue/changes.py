"""The bindings that a definition was made from, and what has been bound anew since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from procorch.wire.byvalue import mirror

ABSENT: Any = object()
"""What a name that is not bound is compared with."""


class Binding(NamedTuple):
    """A name and the very object that it was bound to."""

    where: Mapping[str, Any]
    name: str
    value: Any

    def holds(self) -> bool:
        """Whether it is bound to that object still."""
        return self.where.get(self.name, ABSENT) is self.value


class Extent(NamedTuple):
    """A class and the number of attributes that it had."""

    where: Mapping[str, Any]
    size: int

    def holds(self) -> bool:
        """Whether none was added or removed."""
        return len(self.where) == self.size


Check: TypeAlias = Binding | Extent

_count = 1  # 0 means never
_bindings: dict[tuple[str, str], tuple[Any, int]] = {}


def count() -> int:
    """Return how many bindings have been seen: the version of anything that is made now."""
    return _count


def version(space: str, name: str, value: Any) -> int:
    """Return the count at which ``name`` in ``space`` was first seen to be this very object."""
    global _count
    with mirror.lock:
        known = _bindings.get((space, name))
        if known is not None and known[0] is value:
            return known[1]
        _count += 1
        _bindings[space, name] = value, _count
        return _count
