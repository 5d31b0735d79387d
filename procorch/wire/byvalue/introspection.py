"""What functions and classes consist of, as far as it has to travel."""

from __future__ import annotations

import dis
import functools
import inspect
import sys
from collections.abc import Iterator
from enum import EnumMeta
from types import CellType, CodeType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

FUNCTION_ATTRIBUTES = (
    *("__defaults__", "__kwdefaults__", "__qualname__", "__module__", "__doc__"),
    *("__annotations__", "__type_params__"),
)
"""What a function has besides its code, its globals, its cells and its ``__dict__``."""

# What comes into being when a class statement is executed again.
_CLASS_BASICS = frozenset(
    {"__dict__", "__weakref__", "__module__", "__qualname__", "__doc__", "__slots__", "_abc_impl"}
    | {"__slotnames__"}  # pickle's own note
)
_ENUM_BASICS = frozenset(
    {"__new__", "__new_member__", "_new_member_", "_member_names_", "_member_map_"}
    | {"_value2member_map_", "_hashable_values_", "_unhashable_values_", "_unhashable_values_map_"}
    | {"_member_type_", "_use_args_", "_value_repr_", "_boundary_", "_flag_mask_", "_sort_order_"}
    | {"_singles_mask_", "_all_bits_", "_inverted_", "_generate_next_value_", "_iter_member_"}
)
_MEMBER_BASICS = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})

_GLOBAL_OPERATIONS = frozenset(
    {"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL"}
    | {"LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}  # in the body of a class inside a function
)


@functools.lru_cache(maxsize=1024)
def global_names(code: CodeType) -> frozenset[str]:
    """Return the globals that ``code`` and the functions and classes inside it speak of."""
    return frozenset(
        instruction.argval
        for each in _codes(code)
        for instruction in dis.get_instructions(each)
        if instruction.opname in _GLOBAL_OPERATIONS
    )


@functools.lru_cache(maxsize=1024)
def _all_names(code: CodeType) -> frozenset[str]:
    """Return every name in ``code``, those of attributes too."""
    return frozenset(name for each in _codes(code) for name in each.co_names)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _codes(const)


def names_used(function: FunctionType) -> set[str]:
    """Return the globals that ``function`` needs, those in text annotations included."""
    return {*global_names(function.__code__), *annotation_names(function)}


def annotation_names(obj: Any) -> Iterator[str]:
    """Yield the globals in annotations that are text: tools are described by their type hints."""
    for text in inspect.get_annotations(obj).values():
        if isinstance(text, str):
            try:
                code = compile(text, "<annotation>", "eval")
            except (SyntaxError, ValueError):
                continue
            yield from global_names(code)


def submodules(code: CodeType, module: ModuleType) -> list[str]:
    """Return the imported modules below ``module`` that ``code`` can mean.

    ``import xml.etree`` binds ``xml``; importing that alone elsewhere has no attribute ``etree``.
    """
    prefix = module.__name__ + "."
    names = _all_names(code)
    return sorted(
        name
        for name in list(sys.modules)
        if name.startswith(prefix) and names.issuperset(name[len(prefix) :].split("."))
    )


def cell_contents(cells: tuple[CellType, ...]) -> Iterator[tuple[CellType, Any]]:
    """Yield the cells that hold something; one without is a variable not assigned yet."""
    for cell in cells:
        try:
            yield cell, cell.cell_contents
        except ValueError:
            continue


def class_attributes(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield what a class has that making it does not bring about by itself."""
    is_enum = isinstance(cls, EnumMeta)
    for name, value in cls.__dict__.items():
        if name in _CLASS_BASICS:
            continue
        if isinstance(value, MemberDescriptorType) and value.__objclass__ is cls:
            continue  # a slot
        if is_enum and (name in _ENUM_BASICS or name in members(cls)):
            continue
        yield name, value


def registered(cls: type) -> tuple[type, ...]:
    """Return the classes that were registered with an ABC."""
    if not hasattr(cls, "_abc_impl"):
        return ()
    from _abc import _get_dump  # type: ignore[import-not-found]

    registry = _get_dump(cls)[0]
    return tuple(found for ref in registry if (found := ref()) is not None)


def members(cls: Any) -> dict[str, Any]:
    """Return the members of an enumeration, aliases included."""
    return dict(cls.__members__)


def added_to_members(cls: type) -> dict[str, dict[str, Any]]:
    """Return what ``__init__`` of an enumeration added to its members; {} for other classes."""
    if not isinstance(cls, EnumMeta):
        return {}
    added = {}
    for name, member in members(cls).items():
        more = {key: val for key, val in vars(member).items() if key not in _MEMBER_BASICS}
        if more:
            added[name] = more
    return added
