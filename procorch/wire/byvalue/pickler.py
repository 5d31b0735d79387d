"""dill's pickler, with other methods for functions, classes and modules.

dill (recurse=True) knows how to take apart what pickle refuses, and is the base here. Replaced are
the methods that do not suit a supervisor; each was seen to fail:

* It finds the globals of a function by calling itself for each of them (two functions that call
  each other exhaust the stack) while ``sys.stdout`` is redirected for all threads, and overlooks
  those that a class body inside the function reads.
* A function gets a dictionary of globals of its own, and a class becomes a new class with every
  message: see `module_replica`.
* A module outside of site-packages is pickled with its whole content, even if it is importable.
* ``import xml.etree`` arrives as ``xml`` without ``etree``.
* Classes are made by calling the metaclass: enumerations, and classes below an
  ``__init_subclass__`` that wants arguments, fail on load.

What comes out is loaded by ``pickle.loads``, in nearly all cases without importing dill.
"""

from __future__ import annotations

import io
import marshal
import pickle
import sys
from collections.abc import Callable
from enum import Enum, EnumMeta
from types import CellType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    class _Pickler:
        """What is used of ``dill.Pickler``, which has no types."""

        memo: dict[int, Any]
        dispatch: dict[type, Callable[[Any, Any], None]]

        def __init__(
            self, file: io.BytesIO, protocol: int, *, recurse: bool,
            buffer_callback: BufferCallback | None,
        ) -> None: ...  # fmt: skip
        def dump(self, obj: Any) -> None: ...
        def save(self, obj: Any, save_persistent_id: bool = True) -> None: ...
        def save_global(self, obj: Any, name: str | None = None) -> None: ...

else:
    from dill import Pickler as _Pickler

from procorch.wire.byvalue import (
    changes,
    inherited,
    introspection,
    module_replica,
    rebuild,
    reducers,
    selection,
)
from procorch.wire.byvalue.changes import ABSENT, Check, Extent, bound
from procorch.wire.byvalue.module_replica import Names, Space, Stamped
from procorch.wire.byvalue.rebuild import ClassState, FunctionState

BufferCallback = Callable[[pickle.PickleBuffer], Any]


class Mode(Enum):
    """For whom a pickle is made."""

    DEFINITION = 1  # a factory, or one piece: everything inside, in one pickle
    DOWN = 2  # a message to a worker: classes and named functions as pieces
    UP = 3  # a message to the parent: what came from there as a reference


class ByValue(_Pickler):
    """One pickle.

    Args:
        file: gets it.
        mode: for whom it is made.
        reduce_piece: returns what saves a definition as a piece (`pieces.reduce_piece`).
        checks: gets the bindings that the pickle was made from.
        buffer_callback: as for ``pickle.Pickler``.
    """

    def __init__(
        self,
        file: io.BytesIO,
        mode: Mode,
        reduce_piece: Callable[[Any], Any],
        checks: list[Check] | None,
        buffer_callback: BufferCallback | None,
    ) -> None:
        super().__init__(file, 5, recurse=True, buffer_callback=buffer_callback)
        self._mode = mode
        self._reduce_piece = reduce_piece
        self._checks = checks
        self._kept: dict[int, Any] = {}  # by id: cells, and globals that belong to no module
        self._allow_more(mode is Mode.DEFINITION)

    def _allow_more(self, in_definition: bool) -> None:
        """Choose what is accepted: more inside a definition than in the data of a message."""
        self._in_definition = in_definition
        self._reducers = reducers.IN_DEFINITIONS if in_definition else reducers.ANYWHERE
        self.dispatch: dict[type, Callable[[Any, Any], None]] = (
            reducers.DISPATCH_IN_DEFINITIONS if in_definition else reducers.DISPATCH_ANYWHERE
        )

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        """Save ``obj``; the globals of a function in a message are no data of that message."""
        if type(obj) is Names and not self._in_definition:
            self._allow_more(True)
            try:
                super().save(obj, save_persistent_id)
            finally:
                self._allow_more(False)
        else:
            super().save(obj, save_persistent_id)

    def reducer_override(self, obj: Any) -> Any:
        """Decide how ``obj`` is saved; pickle asks for every object."""
        kind = type(obj)
        if kind in _PLAIN:
            if kind is dict and id(obj) in self._kept:
                return module_replica.fresh_globals, (obj.get("__name__"),)
            return NotImplemented
        if kind is FunctionType:
            return self._function(obj)
        if issubclass(kind, type):
            return self._class(obj)
        if issubclass(kind, ModuleType):
            return self._module(obj)
        if kind is CellType:
            return self._cell(obj)
        if kind in selection.NAMED_ONLY:
            return self._named_only(obj)
        if selection.is_alive(obj):
            raise TypeError(f"cannot pickle {kind.__name__!r} object")
        if (why := inherited.refusal(obj)) is not None:
            raise TypeError(why)
        if (proxy := inherited.proxy(obj)) is not None:
            return proxy
        reducer = self._reducers.get(kind)
        return NotImplemented if reducer is None else reducer(obj)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Save a reference, unless nobody else has what it refers to."""
        if self._mode is not Mode.UP:
            name = name or selection.name_of(obj)
            module = pickle.whichmodule(obj, name)  # type: ignore[attr-defined]
            if selection.travels(module):
                raise pickle.PicklingError(f"cannot pickle {module}.{name}, known by name only")
        super().save_global(obj, name)

    # What need not be taken apart.

    def _shortcut(self, obj: Any) -> Any:
        """Return a reference or a piece for a class or function, None if it goes into this pickle.

        A function without a name of its own (a lambda, a nested one) is data: its cells may differ
        with every message.
        """
        if self._mode is Mode.DEFINITION:
            return None
        if self._mode is Mode.UP and (reference := _reference_up(obj)) is not None:
            return reference
        return self._reduce_piece(obj) if isinstance(obj, type) or selection.is_named(obj) else None

    def _named_only(self, obj: Any) -> Any:
        if self._mode is Mode.UP and (reference := _reference_up(obj)) is not None:
            return reference
        if selection.by_reference(obj):
            return NotImplemented
        token = module_replica.give_token(obj)
        return rebuild.make_once, (token, changes.count(), *reducers.named_only(obj))

    def _module(self, module: ModuleType) -> Any:
        name = module.__name__
        if sys.modules.get(name) is module and selection.importable(name):
            return module_replica.import_module, (name,)
        if name in module_replica.MAINS or module_replica.is_replica(name):
            return module_replica.make_module, (name, module_replica.origin_of(name))
        raise pickle.PicklingError(f"cannot pickle module {name!r}, which cannot be imported")

    # Globals.

    def _space(self, where: dict[str, Any], needed: bool = True) -> Space | None:
        """Return how another process finds these globals; None if they belong to no module."""
        name = where.get("__name__")
        if not isinstance(name, str):
            return None
        module = sys.modules.get(name)
        if module is not None and module.__dict__ is where:
            if selection.importable(name):
                return Space(name, "", needed)
        elif not selection.travels(name):
            return None
        origin = module_replica.origin_of(name)
        if origin == module_replica.origin():
            module_replica.remember_home(name, where)
        return Space(name, origin)

    def _values(self, space: Space | None, where: dict[str, Any], used: set[str]) -> Stamped:
        """Return those of the globals ``used`` that have to be sent, each with its version."""
        if space is not None and not space.origin:
            # A test module that pytest rewrote has names that its source has not.
            return {name: (0, where[name]) for name in used if name[0] == "@" and name in where}
        if space is not None and self._mode is Mode.UP and space.origin != module_replica.origin():
            return {}
        if where.get("__package__"):
            used.add("__package__")  # for relative imports inside functions
        values: Stamped = {}
        for name in sorted(used - _NOT_SENT):
            value = where.get(name, ABSENT)
            if value is not ABSENT:
                version = 0 if space is None else changes.version(space.name, name, value)
                values[name] = version, value
            if self._checks is not None:
                self._checks.append(bound(where, name, value))
        return values

    def _add_own_name(
        self, obj: Any, space: Space | None, where: dict[str, Any], values: Stamped
    ) -> None:
        """Bind a definition to its name on arrival, as a module does.

        A class that a notebook has defined again then takes the place of the former one.
        """
        name = obj.__qualname__
        if space is not None and space.origin and where.get(name) is obj:
            values[name] = changes.version(space.name, name, obj), obj
            if self._checks is not None:
                self._checks.append(bound(where, name, obj))

    # Functions.

    def _function(self, function: FunctionType) -> Any:
        if selection.by_reference(function):
            return function.__qualname__
        if (shortcut := self._shortcut(function)) is not None:
            return shortcut
        code, where = function.__code__, function.__globals__
        used = introspection.names_used(function)
        space = self._space(where, any(name in where for name in used))
        if space is None:
            self._kept[id(where)] = where
        values = self._values(space, where, used)
        token = module_replica.give_token(function) if selection.is_named(function) else ""
        if token:
            self._add_own_name(function, space, where, values)
        cells = function.__closure__ or ()
        contents = tuple(introspection.cell_contents(self._unmet(cells)))
        met = [value for _, value in (*values.values(), *contents)]
        modules = [value for value in met if isinstance(value, ModuleType)]
        submodules = tuple(
            name for each in modules for name in introspection.submodules(code, each)
        )
        names = Names(space or where, values, submodules) if values or submodules else None
        attributes = {
            name: value
            for name in introspection.FUNCTION_ATTRIBUTES
            if (value := getattr(function, name, None)) is not None
        }
        made = (token, marshal.dumps(code), space or where, cells, function.__name__)
        state = FunctionState(
            token, changes.count(), names, contents, attributes, function.__dict__
        )
        return rebuild.make_function, made, state, None, None, rebuild.set_function

    def _unmet(self, cells: tuple[CellType, ...]) -> tuple[CellType, ...]:
        """Return the cells that no function of this pickle has filled yet, and note them."""
        unmet = tuple(
            cell for cell in cells if id(cell) not in self._kept and id(cell) not in self.memo
        )
        self._kept.update((id(cell), cell) for cell in unmet)
        return unmet

    def _cell(self, cell: CellType) -> Any:
        if id(cell) in self._kept:
            return rebuild.make_cell, ()  # its function fills it: the content may be that function
        content = tuple(value for _, value in introspection.cell_contents((cell,)))
        return rebuild.make_cell, (), content, None, None, rebuild.set_cell

    # Classes.

    def _class(self, cls: type) -> Any:
        if selection.by_reference(cls):
            return cls.__qualname__
        if not selection.can_be_rebuilt(cls):
            return reducers.reduce_builtin_type(cls)
        if (shortcut := self._shortcut(cls)) is not None:
            return shortcut
        token = module_replica.give_token(cls)
        namespace = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
        for name in ("__doc__", "__slots__"):
            if name in cls.__dict__:
                namespace[name] = cls.__dict__[name]
        made: tuple[Any, ...] = (token, type(cls), cls.__name__, cls.__bases__, namespace)
        maker: Any = rebuild.make_class
        if isinstance(cls, EnumMeta):
            values = {name: member.value for name, member in introspection.members(cls).items()}
            made = (*made, values, getattr(cls, "_boundary_", None))
            maker = rebuild.make_enum
        # The versions of a class belong to its name: a local class never changes, for our purpose.
        key = f"{cls.__module__}:{cls.__qualname__}" if selection.is_named(cls) else ""
        if key and self._checks is not None:
            self._checks.append(Extent(cls.__dict__, len(cls.__dict__)))
            self._checks += [bound(cls.__dict__, *item) for item in cls.__dict__.items()]
        attributes = {
            name: (changes.version(key, name, value) if key else 0, value)
            for name, value in introspection.class_attributes(cls)
        }
        state = ClassState(
            token,
            changes.count(),
            key,
            self._class_names(cls),
            attributes,
            introspection.registered(cls),
            introspection.added_to_members(cls),
        )
        return maker, made, state, None, None, rebuild.set_class

    def _class_names(self, cls: type) -> Names | None:
        """Return the globals that text annotations of the class speak of, and its own name."""
        used = set(introspection.annotation_names(cls))
        for where in module_replica.homes(cls.__module__):
            if used or where.get(cls.__qualname__) is cls:
                space = self._space(where)
                values = self._values(space, where, used)
                self._add_own_name(cls, space, where, values)
                return Names(space, values) if space is not None and values else None
        return None


_PLAIN = frozenset(
    {type(None), bool, int, float, complex, str, bytes, bytearray}
    | {tuple, list, dict, set, frozenset, pickle.PickleBuffer}
)
_NOT_SENT = frozenset({"__builtins__", "__name__", "__loader__", "__spec__", "__cached__"})


def _reference_up(obj: Any) -> Any:
    """Return a reference for the parent: to what came from there, or to a name that it has."""
    qualname = selection.name_of(obj)
    token = module_replica.token_of(obj)
    if token and not module_replica.is_ours(token):
        return module_replica.by_token, (token, obj.__module__, qualname)
    if "<" not in qualname and selection.travels(obj.__module__):
        return module_replica.look_up, (obj.__module__, qualname)
    return None
