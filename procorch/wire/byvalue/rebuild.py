"""Functions and classes made from what arrived.

Each is made in two steps, as pickle does it for cyclic objects: first from what cannot refer back
to it, then completed. What its token already stands for here is returned instead.
"""

from __future__ import annotations

import abc
import marshal
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum, EnumMeta, Flag
from types import CellType, FunctionType
from typing import Any, NamedTuple

from procorch.wire.byvalue.module_replica import (
    Globals,
    Names,
    Space,
    Stamped,
    apply,
    fill,
    globals_of,
    known,
    loaded_at,
    note_applied,
    register,
)

# Functions.


def make_cell() -> CellType:
    """Return an empty cell: what it will hold may refer to the function that is being made."""
    return CellType()


def set_cell(cell: CellType, content: tuple[Any, ...]) -> None:
    """Fill a cell that travelled by itself; ``content`` is empty for an empty cell."""
    for value in content:
        cell.cell_contents = value


def make_function(
    token: str, code: bytes, space: Space | Globals, cells: tuple[CellType, ...], name: str
) -> FunctionType:
    """Return the function known by ``token``, or a new one without its globals and cells."""
    if token and (here := known(token)) is not None:
        assert isinstance(here, FunctionType)
        return here
    where = globals_of(space) if isinstance(space, Space) else space
    return FunctionType(marshal.loads(code), where, name, None, cells or None)


class FunctionState(NamedTuple):
    """What a function gets once it exists."""

    token: str
    made_at: int  # the sender's, when this was made
    names: Names | None
    cells: tuple[tuple[CellType, Any], ...]
    attributes: dict[str, Any]
    namespace: dict[str, Any]


def set_function(function: FunctionType, state: FunctionState) -> None:
    """Complete a function that `make_function` returned."""
    if state.names is not None:
        fill(state.names)
    if state.token:
        if loaded_at(state.token):
            return
        register(state.token, function, state.made_at)
    for cell, content in state.cells:
        cell.cell_contents = content
    for name, value in state.attributes.items():
        setattr(function, name, value)
    function.__dict__.update(state.namespace)


# Classes.


def make_class(
    token: str, meta: type, name: str, bases: tuple[type, ...], namespace: dict[str, Any]
) -> type:
    """Return the class known by ``token``, or a new one without its attributes.

    Neither ``__init_subclass__`` of a base nor code of the user's metaclass runs: both ran when the
    class was defined, their effects are in its attributes, and without arguments they might refuse.
    """
    if (here := known(token)) is not None:
        assert isinstance(here, type)
        return here
    return _create(meta, name, bases, namespace)


def _create(meta: type, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
    """Make a class of ``meta`` without running code of the user."""
    create: Any = abc.ABCMeta.__new__ if issubclass(meta, abc.ABCMeta) else type.__new__
    if any("__init_subclass__" in vars(cls) for base in bases for cls in base.__mro__[:-1]):
        for base in bases:
            with suppress(TypeError):  # this base does not decide how instances are laid out
                cls: type = create(meta, name, (_quiet_like(base), *bases), dict(namespace))
                cls.__bases__ = bases
                return cls
    made: type = create(meta, name, bases, namespace)
    return made


def _quiet_like(base: type) -> type:
    """Return a class that, put before ``base``, keeps ``__init_subclass__`` from being run.

    Its instances are laid out like those of ``base``, or Python would not let it be taken out of
    the bases again.
    """
    below = base.__base__ or object
    slots = [
        name
        for name, offset in (("__dict__", "__dictoffset__"), ("__weakref__", "__weakrefoffset__"))
        if getattr(base, offset) and not getattr(below, offset)
    ]
    run = classmethod(lambda cls, **arguments: None)
    namespace = {"__slots__": slots, "__init_subclass__": run}
    return _create(type(below), "Quiet", (below,), namespace)


def make_enum(
    token: str,
    meta: EnumMeta,
    name: str,
    bases: tuple[type, ...],
    namespace: dict[str, Any],
    members: dict[str, Any],
    boundary: Any,
) -> type:
    """Return the enumeration known by ``token``, or a new one of members with these values."""
    if (here := known(token)) is not None:
        assert isinstance(here, type)
        return here
    body = meta.__prepare__(name, bases)
    for key, value in {**namespace, **members}.items():
        body[key] = value
    more = {"boundary": boundary} if issubclass(bases[-1], Flag) else {}
    create: Any = EnumMeta.__new__
    cls: type = create(meta, name, bases, body, **more)
    return cls


class ClassState(NamedTuple):
    """What a class gets once it exists."""

    token: str
    made_at: int
    space: str  # whose versions the attributes have; "" for a class that no name leads to
    names: Names | None
    attributes: Stamped
    registered: tuple[type, ...]  # virtual subclasses of an ABC
    members: dict[str, dict[str, Any]]  # of an enumeration: what __init__ added to each


def set_class(cls: type, state: ClassState) -> None:
    """Complete a class that `make_class` or `make_enum` returned, or bring it up to date."""
    if state.names is not None:
        fill(state.names)

    def put(name: str, value: Any) -> None:
        type.__setattr__(cls, name, value)

    if (here := loaded_at(state.token)) >= state.made_at:
        return
    if here:
        apply(state.space, put, state.attributes)
        register(state.token, cls, state.made_at)
        return
    register(state.token, cls, state.made_at)
    for name, (_, value) in state.attributes.items():
        put(name, value)
    if state.space:
        note_applied(state.space, state.attributes)
    for registered in state.registered:
        cls.register(registered)  # type: ignore[attr-defined]
    for name, more in state.members.items():
        member: Enum = cls.__members__[name]  # type: ignore[attr-defined]
        member.__dict__.update(more)


# Other things that pickle knows by name only.


def make_cached(parameters: Mapping[str, Any], function: Callable[..., Any]) -> Any:
    """Return ``functools.lru_cache`` around ``function``, empty."""
    from functools import lru_cache

    return lru_cache(**parameters)(function)


def make_cached_property(function: Callable[..., Any], name: str | None) -> Any:
    """Return a ``cached_property`` as its class made it."""
    from functools import cached_property

    made = cached_property(function)
    made.attrname = name
    return made


def make_once(
    token: str, made_at: int, make: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    """Return the object known by ``token``, or what ``make`` returns."""
    if (made := known(token)) is None:
        made = make(*arguments)
        register(token, made, made_at)
    return made
