"""Finds the part of an object that cannot be serialised, and the path to it.

The message of pickle names a type ("cannot pickle '_thread.lock' object") but not the place. The
search here asks each object what pickle would ask it. It is breadth first, so that it finds the
shortest of several paths.
"""

from __future__ import annotations

import copyreg
import dataclasses
import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from procorch.wire.byvalue import inherited, introspection, selection

_MOST_OBJECTS = 20_000  # searched before giving up; the message then names only the root
_LONGEST_KEY = 40  # characters of a key shown in a path
_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray})

_GLOBAL = " global "  # the step to a global that a function uses
Part = tuple[str, Any]  # the step that leads to it, and the part


class _Place(NamedTuple):
    path: str
    obj: Any
    in_definition: bool  # locks and the like are allowed there


def find_unserialisable(obj: Any, root: str = "value", reason: str = "") -> tuple[str, str]:
    """Return the path to the part of ``obj`` that cannot be serialised, and why it cannot.

    Args:
        obj: the object that could not be serialised. The search asks objects for their state as
            pickle does, so code of the user may run.
        root: the start of the path. With "factory" the rules of `codec.dump_factory` apply,
            otherwise those of `codec.encode`.
        reason: returned with the root if no single part is the cause.
    """
    waiting = deque([_Place(root, obj, root == "factory")])
    seen: dict[int, Any] = {}  # by id; the reference keeps each id unique
    while waiting and len(seen) < _MOST_OBJECTS:
        place = waiting.popleft()
        path, current, in_definition = place
        if type(current) in _ATOMS or id(current) in seen:
            continue
        seen[id(current)] = current
        if (why := inherited.refusal(current)) is not None:
            return path, why
        is_definition = isinstance(current, type | FunctionType)
        if is_definition and (selection.by_reference(current) or _is_good_definition(place)):
            continue
        in_definition = in_definition or (is_definition and _has_definition(current))
        try:
            for step, part in _parts(current):
                if len(waiting) > _MOST_OBJECTS:
                    break
                if type(part) not in _ATOMS:
                    more = in_definition or step.startswith(_GLOBAL)
                    waiting.append(_Place(path + step, part, more))
        except (Exception, SystemExit) as error:
            if (refusal := _refusal(current, in_definition)) is not None:
                return path, say(refusal if isinstance(error, _AskPickler) else error)
    return root, reason or "cannot be serialised"


def say(error: BaseException) -> str:
    """Return the text of a pickler's error, in one line."""
    try:
        text = str(error)
    except Exception:
        text = ""
    if text and isinstance(error, TypeError | pickle.PicklingError):
        return text
    name = type(error).__name__
    return f"{name}: {text}" if text else name


# What belongs to an object.


class _AskPickler(Exception):
    """Only a pickler can tell whether this object can be serialised."""


def _parts(obj: Any) -> Iterator[Part]:
    """Yield the parts of ``obj`` that are serialised; raise if ``obj`` itself may be refused."""
    kind = type(obj)
    if kind is dict:
        yield from _item_parts(obj.items())
        yield from ((f" key {_shown(key)}", key) for key in obj)
    elif kind is list or kind is tuple:
        yield from ((f"[{index}]", part) for index, part in enumerate(obj))
    elif kind is set or kind is frozenset:
        yield from ((f" element {_shown(part)}", part) for part in obj)
    elif kind is FunctionType:
        yield from _function_parts(obj)
    elif isinstance(obj, type):
        yield from _class_parts(obj)
    elif kind is MethodType:
        yield ".__self__", obj.__self__
        yield ".__func__", obj.__func__
    elif kind is staticmethod or kind is classmethod:
        yield "", obj.__func__
    elif kind is property:
        yield from (("", part) for part in (obj.fget, obj.fset, obj.fdel))
    elif kind is CellType:
        yield "", obj.cell_contents
    elif isinstance(obj, ModuleType):
        if not selection.importable(obj.__name__):
            raise _AskPickler
    elif selection.is_alive(obj):
        raise _AskPickler
    else:
        yield from _reduced_parts(obj)


def _function_parts(function: FunctionType) -> Iterator[Part]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f" closure variable {name!r}", cell.cell_contents
        except ValueError:
            continue  # empty: a variable that is not assigned yet
    positional = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    for name, part in zip(positional[len(positional) - len(defaults) :], defaults, strict=True):
        yield f" default of {name!r}", part
    for name, part in (function.__kwdefaults__ or {}).items():
        yield f" default of {name!r}", part
    for name, part in function.__dict__.items():
        yield f".{name}", part
    if not selection.importable(function.__globals__.get("__name__", "")):
        for name in sorted(introspection.names_used(function)):
            if name in function.__globals__:
                yield f"{_GLOBAL}{name!r}", function.__globals__[name]


def _class_parts(cls: type) -> Iterator[Part]:
    if not selection.can_be_rebuilt(cls):
        raise _AskPickler
    for name, part in introspection.class_attributes(cls):
        yield f".{name}", part
    for base in cls.__bases__:
        yield f" base {base.__name__}", base


def _reduced_parts(obj: Any) -> Iterator[Part]:
    """Ask ``obj`` what pickle asks it."""
    reducer = copyreg.dispatch_table.get(type(obj))
    reduced = obj.__reduce_ex__(5) if reducer is None else reducer(obj)
    if not isinstance(reduced, tuple) or not 2 <= len(reduced) <= 6:
        raise _AskPickler  # a string: it is found by its name
    padded: tuple[Any, ...] = (*reduced, *(None,) * (6 - len(reduced)))
    function, arguments, state, items, pairs, _ = padded
    yield " constructor", function
    fields = getattr(type(obj), "_fields", ()) if isinstance(obj, tuple) else ()
    for index, part in enumerate(arguments):
        if isinstance(part, type):
            yield f" class {part.__name__}", part
        elif index and len(fields) == len(arguments) - 1:
            yield f".{fields[index - 1]}", part
        else:
            yield f" constructor argument {index}", part
    yield from _state_parts(obj, state)
    for index, part in enumerate(items or ()):
        yield f"[{index}]", part
    yield from _item_parts(pairs or ())


def _state_parts(obj: Any, state: Any) -> Iterator[Part]:
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        yield from _state_parts(obj, state[0])  # __dict__, then the slots
        state = state[1]
    if isinstance(state, Mapping):
        for name, part in state.items():
            yield (f".{name}" if isinstance(name, str) else f" state {_shown(name)}"), part
    elif isinstance(state, list | tuple) and dataclasses.is_dataclass(obj):
        for field, part in zip(dataclasses.fields(obj), state, strict=False):
            yield f".{field.name}", part
    elif state is not None:
        yield " state", state


def _item_parts(pairs: Iterable[tuple[Any, Any]]) -> Iterator[Part]:
    for key, part in pairs:
        yield f"[{_shown(key)}]", part


def _shown(key: Any) -> str:
    try:
        text = repr(key)
    except Exception:
        text = f"<{type(key).__name__}>"
    return text if len(text) <= _LONGEST_KEY else text[: _LONGEST_KEY - 3] + "..."


# Questions to the picklers. They are imported here: dill is loaded already by now.


def _has_definition(obj: Any) -> bool:
    return selection.can_be_rebuilt(obj) if isinstance(obj, type) else selection.is_named(obj)


def _is_good_definition(place: _Place) -> bool:
    """Whether a definition in a message can be serialised, so that the search skips it."""
    if place.in_definition or not _has_definition(place.obj):
        return False
    from procorch.wire.byvalue import definition_cache

    try:
        definition_cache.reduce_piece(place.obj)
    except (Exception, SystemExit):
        return False
    return True


def _refusal(obj: Any, in_definition: bool) -> BaseException | None:
    """Return the error of the last pickler for ``obj``; None if it succeeds."""
    from procorch.wire.byvalue import definition_cache

    mode = definition_cache.Mode.DEFINITION if in_definition else definition_cache.Mode.DOWN
    try:
        definition_cache.dumps(obj, mode)
    except (Exception, SystemExit) as error:
        return error
    return None
