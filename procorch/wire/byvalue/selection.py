"""What travels by value, and what another process finds by its name.

A worker has the parent's ``sys.path``, so what it can import travels as a name. The test is whether
the import system *would find* the module again under its name, not whether it is in
``sys.modules``: pytest's importlib mode, a file loaded by its path, ``runpy`` and notebooks all put
modules there that no other process can import.
"""

from __future__ import annotations

import functools
import importlib.machinery
import os
import sys
import threading
import typing
from types import ModuleType
from typing import Any

from procorch.wire.byvalue import module_replica
from procorch.wire.byvalue.changes import ABSENT

NAMED_ONLY: frozenset[Any] = frozenset(
    {functools._lru_cache_wrapper, typing.NewType}
    | {typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple}
)
"""Types besides functions and classes of which pickle saves nothing but the name."""

_IN_EVERY_MAIN = b"_main__"
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, or as if

_by_value: set[str] = set()
_importable: set[str] = set()
_marks: list[bytes] = []


def _add(name: str) -> None:
    """Note that definitions of this module travel by value."""
    short = name.encode()[:255]
    _by_value.add(name)
    # How protocol 4 and later begin a reference into a module. Text that merely speaks of __main__
    # (programs that a model wrote do) has another length before it.
    _marks.append(b"\x8c" + bytes([len(short)]) + short)


for _main in module_replica.MAINS:
    _add(_main)


def travels(module: object) -> bool:
    """Whether definitions of ``module`` (a name) travel by value, as far as is known yet."""
    return module in _by_value


def refers(data: bytes) -> bool:
    """Whether a pickle may refer to a module whose definitions travel by value."""
    if len(_marks) == len(module_replica.MAINS) and _IN_EVERY_MAIN not in data:
        return False
    return any(mark in data for mark in _marks)


def importable(name: str) -> bool:
    """Whether another process with our ``sys.path`` would find the module ``name`` as it is here.

    What is not importable is remembered, so that `refers` finds it in later messages.
    """
    if name in _importable:
        return True
    if name in _by_value:
        return False
    module = sys.modules.get(name)
    if module is None:
        return False
    if _would_be_found(name, module):
        _importable.add(name)
        return True
    _add(name)
    return False


def _would_be_found(name: str, module: ModuleType) -> bool:
    package = name.partition(".")[0]
    own = getattr(module, "__spec__", None)
    here: str | None = getattr(own, "origin", None) or getattr(module, "__file__", None)
    found = _find_spec(name)
    if found is not None:
        if here is None or found.origin is None:
            return here is None
        if _is_same_file(here, found.origin):
            return True
    if package in sys.stdlib_module_names:
        return True
    # Without a file (torch.ops), or another module under a second name (six.moves.queue): such
    # modules are put there by their package, and will be there too when it is imported.
    aliased = own is not None and own.name != name
    return (here is None or aliased) and package != name and importable(package)


def _is_same_file(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return os.path.realpath(one) == os.path.realpath(other)
    except FileNotFoundError:  # one is relative to a working directory that has been deleted
        return False


def _find_spec(name: str) -> importlib.machinery.ModuleSpec | None:
    """Ask the finders, past ``sys.modules``; pytest's finder is not in workers."""
    finders = [
        finder
        for finder in sys.meta_path
        if not str(getattr(finder, "__module__", "")).startswith("_pytest")
    ]
    path: Any = None
    spec: importlib.machinery.ModuleSpec | None = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        if depth > 1 and path is None:
            return None
        full = ".".join(parts[:depth])
        try:
            found = (finder.find_spec(full, path) for finder in finders)
            spec = next((each for each in found if each is not None), None)
        except (ImportError, AttributeError, ValueError):
            return None
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def find(module: Any, qualname: str) -> Any:
    """Return what ``qualname`` means in ``module`` here, or ABSENT."""
    first, *rest = qualname.split(".")
    spaces = module_replica.homes(module) if isinstance(module, str) else []
    found = next((space[first] for space in spaces if first in space), ABSENT)
    for part in rest:
        # Not getattr: an attribute is found in its own class, and no property is run.
        found = vars(found).get(part, ABSENT) if isinstance(found, type) else ABSENT
        if isinstance(found, staticmethod):
            found = found.__func__  # a classmethod is not unwrapped: its name gives a bound method
    return found


def name_of(obj: Any) -> str:
    """Return the qualified name of a definition."""
    name: str = getattr(obj, "__qualname__", obj.__name__)
    return name


def is_named(obj: Any) -> bool:
    """Whether the module of ``obj`` has it under its own qualified name."""
    return find(obj.__module__, name_of(obj)) is obj


def by_reference(obj: Any) -> bool:
    """Whether workers find ``obj`` under its name in a module that they can import."""
    return is_named(obj) and importable(obj.__module__)


def is_alive(obj: Any) -> bool:
    """Whether ``obj`` is a thread or a process: its state could be copied, itself it could not."""
    popen = getattr(sys.modules.get("subprocess"), "Popen", threading.Thread)
    return isinstance(obj, threading.Thread | popen)


def can_be_rebuilt(cls: type) -> bool:
    """Whether ``cls`` is a class that another can be made like, not one of the interpreter's."""
    return bool(cls.__flags__ & _HEAP_TYPE)
