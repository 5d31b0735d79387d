"""How objects of a few types are saved; which of dill's handlers are used.

pickle refuses some of these types, saves others by a name that means nothing elsewhere, and dill
saves some in ways that would need dill for loading. Locks arrive locked from dill, files are
opened a second time, capsules become wild pointers: those handlers are left out, so that pickle's
refusal stands.
"""

from __future__ import annotations

import contextvars
import functools
import io
import marshal
import sys
import threading
import types
import typing
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from procorch.wire.byvalue import dill_handlers, module_replica, rebuild, selection

Reducer = Callable[[Any], Any]


def named_only(obj: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return what makes another of an object of `travel.NAMED_ONLY`."""
    if isinstance(obj, functools._lru_cache_wrapper):
        return rebuild.make_cached, (obj.cache_parameters(), obj.__wrapped__)
    if isinstance(obj, typing.NewType):
        return typing.NewType, (obj.__name__, obj.__supertype__)
    kind: Any = type(obj)
    options = {
        name: value
        for name in ("bound", "covariant", "contravariant", "infer_variance")
        if (value := getattr(obj, f"__{name}__", None))
    }
    constraints = getattr(obj, "__constraints__", ())
    return functools.partial(kind, obj.__name__, *constraints, **options), ()


def _reduce_method(obj: Any) -> Any:
    # Not by its name in its class: that class may be in the making, without attributes yet.
    owner = obj.__self__ if isinstance(obj.__self__, type) else type(obj.__self__)
    if selection.by_reference(owner):
        return NotImplemented
    return types.MethodType, (obj.__func__, obj.__self__)


_STREAMS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")


def _reduce_stream(obj: Any) -> Any:
    """A standard stream is the worker's own; any other file is refused."""
    for name in _STREAMS:
        if getattr(sys, name, None) is obj:
            return module_replica.look_up, ("sys", name)
    return NotImplemented


# By exact type; NotImplemented leaves an object to the usual ways.
ANYWHERE: dict[type, Reducer] = {
    types.MappingProxyType: lambda obj: (types.MappingProxyType, (dict(obj),)),
    types.MethodType: _reduce_method,
    types.CodeType: lambda obj: (marshal.loads, (marshal.dumps(obj),)),
    io.TextIOWrapper: _reduce_stream,
}


def _reduce_contextvar(obj: contextvars.ContextVar[Any]) -> Any:
    options = {}
    with suppress(LookupError):
        options["default"] = contextvars.Context().run(obj.get)
    return functools.partial(contextvars.ContextVar, obj.name, **options), ()


# A lock in a definition protects what a worker has of its own, so a fresh one is right. In a
# message it would be a lock that locks nothing, so there it is refused, as pickle does.
IN_DEFINITIONS: dict[type, Reducer] = {
    **ANYWHERE,
    type(threading.Lock()): lambda obj: (threading.Lock, ()),
    type(threading.RLock()): lambda obj: (threading.RLock, ()),
    threading.local: lambda obj: (threading.local, ()),
    contextvars.ContextVar: _reduce_contextvar,
    functools.cached_property: lambda obj: (
        rebuild.make_cached_property,
        (obj.func, obj.attrname),
    ),
}

_TYPE_NAMES = {cls: name for name, cls in vars(types).items() if isinstance(cls, type)}


def reduce_builtin_type(cls: type) -> Any:
    """Save a class of the interpreter that has no name of its own (the type of functions)."""
    name = _TYPE_NAMES.get(cls)
    return NotImplemented if name is None else (module_replica.look_up, ("types", name))


def _dispatch(*names: str) -> dict[type, Callable[[Any, Any], None]]:
    """Return the standard handlers, with those of dill that have one of ``names``."""
    table = dill_handlers.standard_handlers()
    # Sentinels of dataclasses must stay the very objects: fields() compares by identity.
    table.update(dill_handlers.handlers_named(frozenset(names), "save_dataclasses"))
    return table


_USEFUL = ("save_super", "save_property", "save_classmethod", "_save_dict_view", "save_type")
DISPATCH_ANYWHERE = _dispatch(*_USEFUL)
DISPATCH_IN_DEFINITIONS = _dispatch(*_USEFUL, "save_weakref", "save_weakproxy", "save_context")
