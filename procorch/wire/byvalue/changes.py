"""The bindings that a definition was made from, and what has been bound anew since.

Values are held weakly where their type allows it, and all is forgotten when nobody uses it any
more: what a closed orchestrator has sent is not kept.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from procorch.wire.byvalue import module_replica

ABSENT: Any = object()
"""What a name that is not bound is compared with."""


class Binding(NamedTuple):
    """A name and a reference to the very object that it was bound to, see `bound`."""

    where: Mapping[str, Any]
    name: str
    value: Callable[[], Any]

    def holds(self) -> bool:
        """Whether it is bound to that object still."""
        return self.where.get(self.name, ABSENT) is self.value()


def bound(where: Mapping[str, Any], name: str, value: Any) -> Binding:
    """The binding of ``name`` in ``where`` to ``value``."""
    return Binding(where, name, _reference(value))


def _reference(value: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(value)
    except TypeError:  # a type without weak references, such as int, list or dict
        return lambda: value


class Extent(NamedTuple):
    """A class and the number of attributes that it had."""

    where: Mapping[str, Any]
    size: int

    def holds(self) -> bool:
        """Whether none was added or removed."""
        return len(self.where) == self.size


Check: TypeAlias = Binding | Extent

_count = 1  # 0 means never
_bindings: dict[tuple[str, str], tuple[Callable[[], Any], int]] = {}
_users: weakref.WeakSet[Any] = weakref.WeakSet()
_caches: list[dict[Any, Any]] = [_bindings]


def cache(entries: dict[Any, Any]) -> None:
    """Have ``entries`` emptied as well when the last user has gone."""
    _caches.append(entries)


def use(user: Any) -> None:
    """Keep what is known until `leave` is called by ``user``."""
    with module_replica.lock:
        _users.add(user)


def leave(user: Any) -> None:
    """Forget everything if ``user`` was the last one: there is no worker that knows a version."""
    with module_replica.lock:
        _users.discard(user)
        if not _users:
            for entries in _caches:
                entries.clear()


def count() -> int:
    """Return how many bindings have been seen: the version of anything that is made now."""
    return _count


def version(space: str, name: str, value: Any) -> int:
    """Return the count at which ``name`` in ``space`` was first seen to be this very object."""
    global _count
    with module_replica.lock:
        known = _bindings.get((space, name))
        if known is not None and known[0]() is value:
            return known[1]
        _count += 1
        _bindings[space, name] = _reference(value), _count
        return _count
