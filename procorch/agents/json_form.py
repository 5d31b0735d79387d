"""Any value as plain data for JSON; a part that JSON cannot express does not change the others.

A number stays a number, a numpy array becomes lists of numbers, an object becomes its fields by
name. What JSON cannot express becomes text, ``nan`` and the infinities become null. The rules are
in ``docs/how-to/batch.md``. An object of the journal whose class is missing is a `StandIn`.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import ipaddress
import math
import os
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Set, ValuesView
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any
from uuid import UUID

import msgspec

DEPTH = 200
"""Levels of nesting that are converted; programs that read JSON have limits, too."""

_NO_FIELDS = (
    type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType,
)  # fmt: skip
_AS_TEXT = (
    Decimal, UUID, Fraction, complex, ipaddress.IPv4Address, ipaddress.IPv6Address,
    ipaddress.IPv4Network, ipaddress.IPv6Network,
)  # fmt: skip


def plain(value: Any) -> Any:
    """A value of None, bool, int, float, str, list and dict with text as keys, and nothing else."""
    return _Walk().of(value)


def text(value: str) -> str:
    """Text that can be encoded: a lone surrogate becomes its escape."""
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


class StandIn:
    """Stands for an object whose class cannot be found.

    Attributes:
        args: the arguments that it was made with.
        state: its attributes, usually by name; None: the pickle has none.
        entries: of a mapping.
        elements: of a list or a set.
    """

    args: tuple[Any, ...]
    state: Any
    entries: dict[Any, Any]
    elements: list[Any]

    def __new__(cls, *args: Any, **named: Any) -> StandIn:
        """Accept any arguments."""
        made = super().__new__(cls)
        made.__dict__.update(args=args, state=named or None, entries={}, elements=[])
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def append(self, value: Any) -> None:
        """Add an element of a list."""
        self.elements.append(value)

    add = append

    def fields(self) -> dict[str, Any] | None:
        """Its attributes by name; None: the pickle does not name them."""
        parts = self.state if isinstance(self.state, tuple) else (self.state,)
        found: dict[str, Any] = {}
        for part in parts:
            if isinstance(part, dict):
                found |= part.get("__dict__", part)  # pydantic keeps its fields one level below
            elif part is not None:
                return None
        return found


class _Walk:
    """Converts one value; it notes the objects that it is inside of, so that a cycle ends."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def of(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return text(value)
        if kind is int:
            return _whole(value)
        if kind is float:
            return value if math.isfinite(value) else None
        if id(value) in self._open:
            return "<cycle>"
        if len(self._open) >= DEPTH:
            return f"<nested deeper than {DEPTH} levels>"
        self._open.add(id(value))
        try:
            return self._opened(value)
        except Exception:  # an object's own methods may raise anything
            return _described(value)
        finally:
            self._open.discard(id(value))

    def _opened(self, value: Any) -> Any:
        if isinstance(value, Enum):
            return self.of(value.value)
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic | numpy.ndarray):
            return self._of_numpy(value, numpy)
        if isinstance(value, str):
            return text(str.__str__(value))
        if isinstance(value, int):
            return _whole(int.__add__(value, 0))
        if isinstance(value, float):
            return self.of(float.__add__(value, 0.0))
        if isinstance(value, bytes | bytearray | memoryview):
            return base64.b64encode(value).decode()
        if isinstance(value, StandIn):
            return self._of_stand_in(value)
        names = _names(value)
        if names is not None:
            return self._entries((n, getattr(value, n)) for n in names if hasattr(value, n))
        dump = _method(value, "model_dump")  # pydantic
        if dump is not None:
            return self.of(dump())
        if isinstance(value, Mapping):
            return self._entries(value.items())
        if isinstance(value, Set):
            return _ordered([self.of(each) for each in value])
        if isinstance(value, deque | Sequence | ValuesView):
            return [self.of(each) for each in value]
        to_list = _method(value, "tolist")  # arrays, tensors and columns of any library
        if to_list is not None:
            return self.of(to_list())
        found = _leaf(value)
        return self._of_object(value) if found is None else found

    def _entries(self, entries: Iterable[tuple[Any, Any]]) -> Any:
        pairs = [(self.of(key), self.of(each)) for key, each in entries]
        found = {_key(key): each for key, each in pairs}
        # Two keys that are equal in JSON: a list of pairs loses nothing.
        return found if len(found) == len(pairs) else [list(pair) for pair in pairs]

    def _of_numpy(self, value: Any, numpy: Any) -> Any:
        if value.dtype.names:
            if value.ndim == 0:
                return self._entries((name, value[name]) for name in value.dtype.names)
            return [self.of(each) for each in value]
        kind = value.dtype.kind
        if kind == "M":
            return numpy.datetime_as_string(value).tolist()
        if kind == "m":
            return str(value) if value.ndim == 0 else [self.of(each) for each in value]
        given = value.tolist()
        exact = kind in "biu" or (kind == "f" and bool(numpy.isfinite(value).all()))
        if isinstance(given, numpy.generic):  # an extended float, which has no equal in Python
            return self.of(float(given))
        return given if exact and value.dtype.itemsize <= 8 else self.of(given)

    def _of_stand_in(self, value: StandIn) -> Any:
        fields = value.fields()
        if fields is None:
            return self.of(value.state)
        if fields or value.entries:
            return self._entries([*fields.items(), *value.entries.items()])
        if value.elements:
            return [self.of(each) for each in value.elements]
        if len(value.args) == 1:
            return self.of(value.args[0])
        if value.args:
            return [self.of(each) for each in value.args]
        return {}

    def _of_object(self, value: Any) -> Any:
        if isinstance(value, BaseException):
            return {"type": type(value).__qualname__, "message": text(str(value))}
        if isinstance(value, _NO_FIELDS):
            return _described(value)
        names = [*getattr(value, "__dict__", ()), *_slots(type(value))]
        public = [name for name in names if isinstance(name, str) and not name.startswith("_")]
        if not public:
            return _described(value)
        return self._entries((n, getattr(value, n)) for n in public if hasattr(value, n))


def _names(value: Any) -> Sequence[str] | None:
    """The fields of an object whose class declares them."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        return [each.name for each in dataclasses.fields(kind)]
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if hasattr(kind, "__attrs_attrs__"):
        return [each.name for each in kind.__attrs_attrs__]
    return None


def _leaf(value: Any) -> str | None:
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, datetime.timedelta):
        exact = datetime.timedelta(value.days, value.seconds, value.microseconds)
        return str(msgspec.to_builtins(exact))
    if isinstance(value, _AS_TEXT):
        return str(value)
    if isinstance(value, os.PathLike):
        return text(os.fsdecode(value))
    return None


def _whole(value: int) -> int | str:
    """A whole number; one of thousands of digits, which few tools read, is hexadecimal text."""
    return value if value.bit_length() < 10_000 else hex(value)


def _key(key: Any) -> str:
    """A key as text; a key that is not text becomes its JSON."""
    return key if isinstance(key, str) else msgspec.json.encode(key).decode()


def _ordered(elements: list[Any]) -> list[Any]:
    """Elements of a set, in an order that is the same in every process."""
    try:
        return sorted(elements)
    except TypeError:
        return sorted(elements, key=msgspec.json.encode)


def _method(value: Any, name: str) -> Callable[[], Any] | None:
    found = getattr(type(value), name, None)
    return found.__get__(value) if callable(found) and hasattr(found, "__get__") else None


def _slots(kind: type) -> list[str]:
    found: list[str] = []
    for each in kind.__mro__:
        slots = each.__dict__.get("__slots__", ())
        found += [slots] if isinstance(slots, str) else slots
    return found


def _described(value: Any) -> str:
    try:
        return text(repr(value))
    except Exception:
        return f"<{type(value).__module__}.{type(value).__qualname__}>"
