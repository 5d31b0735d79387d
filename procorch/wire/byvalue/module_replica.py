"""A worker's copy of the parent's `__main__`, filled as definitions arrive.

A function or class of a module that workers cannot import (`__main__`, a notebook, a file loaded
by its path) travels by value. Where do its globals live afterwards? One dictionary a function, as
dill does with recurse=True, gives two functions that share a global two of them, and a class two
identities: the handler's `isinstance` fails for every request. So a worker keeps **one module of
the same name**, the replica. Every definition finds the others there, and pickle finds them by
name: a reply with a class of `__main__` is a plain pickle, and the parent gets its very class.

Three kinds of identity make that hold:

* An *object* that should stay one object (a class, a function known by name) has a **token**, given
  by the process that defined it. Loading a token that is known here gives the object known here; in
  the process that defined it, the original.
* A *global* that arrives has a **version**: the sender's count of bindings seen, when it first saw
  this one. A worker takes only what is newer, so what it rebinds itself stays, while a cell of a
  notebook that is run again reaches a living worker with the next request that uses it. (Changes in
  place are not seen.)
* A *process* has an **origin** number: definitions that return to their origin are not applied to
  the real module.

Nothing here needs dill: a worker that got a factory loads it without.
"""

from __future__ import annotations

import builtins
import importlib
import os
import pickle
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from types import ModuleType
from typing import Any, NamedTuple

Globals = dict[str, Any]
Stamped = dict[str, tuple[int, Any]]  # name to (version, value)

MAINS = ("__main__", "__mp_main__")  # the latter: a script run again by multiprocessing
OURS = sys.maxsize  # the version of what was defined here: nothing that arrives is newer

lock: AbstractContextManager[Any] = threading.RLock()
"""One definition is loaded at a time, or one class would become two."""

_is_worker = False
_origins: set[str] = set()  # this process and those it was forked from
_origin = ""
_count = 0
_replicas: dict[str, _Replica] = {}
_replaced: dict[str, ModuleType | None] = {}  # what sys.modules had where a replica is now
_homes: dict[str, list[Globals]] = {}  # besides those in sys.modules
_objects: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_tokens: dict[int, tuple[weakref.ref[Any], str]] = {}  # by id: a metaclass may define __hash__
_loaded: dict[str, int] = {}  # by token
_applied: dict[tuple[str, str], int] = {}  # (space, name) to version


class Space(NamedTuple):
    """Where the globals of a function are: enough to find or make them in another process."""

    name: str
    origin: str  # "" for a module that the other process imports
    needed: bool = True  # False: no global is used, so the module need not be imported


class _Replica(NamedTuple):
    module: ModuleType
    origin: str


class Names(NamedTuple):
    """Globals to put into a space before what uses them runs."""

    space: Space | Globals  # a dictionary: globals that belong to no module
    values: Stamped
    submodules: tuple[str, ...] = ()  # "xml.etree": an import that only set an attribute


# Roles and homes.


def set_role(role: str) -> None:
    """Say which side this process is on.

    Args:
        role: "worker" makes replicas visible in ``sys.modules`` (so ``__main__`` is the parent's
            from the first definition on), and replies refer to them by name; "parent" is how a
            process starts.
    """
    global _is_worker
    if role not in ("worker", "parent"):
        raise ValueError(f"a role is 'worker' or 'parent', not {role!r}")
    _is_worker = role == "worker"
    while not _is_worker and _replaced:
        name, module = _replaced.popitem()
        if module is None:
            del sys.modules[name]
        else:
            sys.modules[name] = module


def is_worker() -> bool:
    """Whether ``set_role("worker")`` was called."""
    return _is_worker


def origin() -> str:
    """Return the number of this process; workers forked from one process have different ones."""
    global _origin
    if not _origin:
        _origin = os.urandom(6).hex()
        _origins.add(_origin)
    return _origin


def _forget_origin() -> None:
    global _origin, lock
    _origin = ""
    lock = threading.RLock()


os.register_at_fork(after_in_child=_forget_origin)


def origin_of(module: str) -> str:
    """Return the process in which ``module`` is real: another one where it is a replica."""
    replica = _replicas.get(module)
    return replica.origin if replica else origin()


def is_replica(module: str) -> bool:
    """Whether ``module`` stands here for a module of another process."""
    return module in _replicas


def homes(module: str) -> list[Globals]:
    """Return the globals that ``module`` has here, the likeliest first.

    A script under a profiler, ``runpy`` or ``%run`` has a ``__main__`` that is not the one in
    ``sys.modules``, or not for long.
    """
    others = _homes.get(module, [])
    found = getattr(sys.modules.get(module), "__dict__", None)
    return others if found is None else [*others, found]


def remember_home(module: str, names: Globals) -> None:
    """Keep globals from which something was sent, so that what comes back finds them."""
    if not any(names is known for known in homes(module)):
        _homes[module] = [names, *_homes.get(module, [])]


def has_other_homes() -> bool:
    """Whether some module has globals besides those in ``sys.modules``."""
    return bool(_homes)


def look_up(module: str, qualname: str) -> Any:
    """Return what ``qualname`` means in ``module``: a reference of a worker, resolved.

    Raises:
        AttributeError: there is no such name.
        ImportError: there is no such module.
    """
    first, *rest = qualname.split(".")
    spaces = homes(module) or [importlib.import_module(module).__dict__]
    space = next((space for space in spaces if first in space), None)
    if space is None:
        raise AttributeError(f"module {module!r} has no attribute {first!r}")
    found = space[first]
    for part in rest:
        found = getattr(found, part)
    return found


# Tokens.


def token_of(obj: Any) -> str:
    """Return the token of ``obj``, or "" if it has none."""
    entry = _tokens.get(id(obj))
    return entry[1] if entry is not None and entry[0]() is obj else ""


def give_token(obj: Any) -> str:
    """Return the token of ``obj``, which gets one now if it has none."""
    global _count
    token = token_of(obj)
    if not token:
        with lock:
            _count += 1
            token = f"{origin()}.{_count}"
            register(token, obj, OURS)
    return token


def register(token: str, obj: Any, made_at: int) -> None:
    """Let ``obj`` be what ``token`` stands for, as the sender had it at its count ``made_at``."""
    key = id(obj)

    def forget(_: weakref.ref[Any]) -> None:
        # The memory of ``obj`` is not free before this returns, so ``key`` is still its own.
        _tokens.pop(key, None)
        _loaded.pop(token, None)

    _tokens[key] = (weakref.ref(obj, forget), token)
    _objects[token] = obj
    _loaded[token] = made_at


def is_ours(token: str) -> bool:
    """Whether ``token`` was given here."""
    return token.partition(".")[0] in _origins


def by_token(token: str, module: str, qualname: str) -> Any:
    """Return the object that was given ``token``, or what has taken its place and name since.

    Raises:
        LookupError: there is neither.
    """
    if (here := known(token)) is not None:
        return here
    if "<" in qualname:
        raise LookupError(f"{module}.{qualname} exists no longer")
    return look_up(module, qualname)


def known(token: str) -> Any:
    """Return the object that ``token`` stands for, or None."""
    return _objects.get(token)


def loaded_at(token: str) -> int:
    """Return the sender's count when what is here for ``token`` was made; 0 if nothing is."""
    return _loaded.get(token, 0)


def load_piece(token: str, made_at: int, data: bytes) -> Any:
    """Return the definition ``token``; ``data`` is its pickle, looked at only if it is newer."""
    if loaded_at(token) >= made_at and (here := known(token)) is not None:
        return here
    with lock:
        obj = pickle.loads(data)
        _loaded[token] = max(made_at, loaded_at(token))
        return obj


# Spaces.


def globals_of(space: Space) -> Globals:
    """Return the globals of ``space`` in this process; a replica is made when there is none yet."""
    if not space.origin:
        module = sys.modules.get(space.name)
        if module is None and space.needed:
            module = importlib.import_module(space.name)
        return fresh_globals(space.name) if module is None else module.__dict__
    if space.origin in _origins and (here := homes(space.name)):
        return here[0]
    replica = _replicas.get(space.name)
    if replica is None:
        replica = _replicas[space.name] = _Replica(ModuleType(space.name), space.origin)
        replica.module.__dict__["__builtins__"] = builtins
    if _is_worker and (space.name in MAINS or space.name not in sys.modules):
        # Kept, because a module that nobody holds is emptied while its functions still run.
        _replaced.setdefault(space.name, sys.modules.get(space.name))
        sys.modules[space.name] = replica.module
    return replica.module.__dict__


def import_module(name: str) -> ModuleType:
    """Import the module of this full name."""
    return importlib.import_module(name)


def fresh_globals(name: str) -> Globals:
    """Return globals of their own, for a function whose module has none that could be found."""
    return {"__name__": name, "__builtins__": builtins}


def make_module(name: str, sender: str) -> ModuleType:
    """Return the module that stands here for ``name`` of the process ``sender``."""
    globals_of(Space(name, sender))
    replica = _replicas.get(name)
    return sys.modules[name] if replica is None else replica.module


def fill(names: Names) -> None:
    """Put globals where they belong: into a replica if newer, never into a module that is real."""
    space, values, submodules = names
    for submodule in submodules:
        with suppress(ImportError):
            importlib.import_module(submodule)
    if not values:
        return
    if not isinstance(space, Space):
        space.update((name, value) for name, (_, value) in values.items())
        return
    target = globals_of(space)
    if not space.origin:
        # A test module that pytest rewrote has names ("@pytest_ar") that its source has not.
        for name, (_, value) in values.items():
            target.setdefault(name, value)
    elif space.origin not in _origins:
        apply(space.name, target.__setitem__, values)


def apply(space: str, put: Callable[[str, Any], object], values: Stamped) -> None:
    """Put each of ``values`` that is newer than what was put into ``space`` before."""
    for name, (version, value) in values.items():
        if _applied.get((space, name), 0) < version:
            put(name, value)
            _applied[space, name] = version


def note_applied(space: str, values: Stamped) -> None:
    """Take note that ``values`` have just been put into ``space``, newer or not."""
    for name, (version, _) in values.items():
        _applied[space, name] = version
