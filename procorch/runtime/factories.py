"""Factories on their way to workers: serialised, and with the modules that they come from."""

from __future__ import annotations

import functools
import importlib
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any

from procorch.agents import import_path
from procorch.wire import codec
from procorch.wire.byvalue.selection import by_reference


@dataclass(frozen=True, slots=True)
class Modules:
    """Modules by name; see `launch.base.Code`."""

    names: tuple[str, ...]

    def load(self) -> None:
        """Import them."""
        for name in self.names:
            importlib.import_module(name)

    def __str__(self) -> str:
        return ", ".join(self.names)


def seal(factory: Callable[[], Any]) -> bytes:
    """Serialise a factory, for any worker to load.

    Raises:
        SerializationError: it cannot be serialised; the error has the path inside it.
        TypeError: it is not callable.
    """
    return codec.dump_factory(factory)


def imports_of(factory: Callable[[], Any]) -> bytes:
    """What imports the modules that a factory comes from, see `launch.base.Code`; b"": there are
    none, because it travels by value, or is a part of procorch or of the standard library."""
    apps = sys.modules.get("procorch.agents.apps")
    if apps is not None and isinstance(factory, apps.App):
        return pickle.dumps(factory)
    names = dict.fromkeys(
        each.__module__
        for each in _definitions(factory)
        if by_reference(each) and not import_path.is_needed(each.__module__.partition(".")[0])
    )
    return pickle.dumps(Modules(tuple(names))) if names else b""


def _definitions(factory: Any) -> Iterator[Any]:
    """The functions and classes that a factory consists of."""
    if isinstance(factory, functools.partial):
        for part in (factory.func, *factory.args, *factory.keywords.values()):
            if callable(part):
                yield from _definitions(part)
    elif isinstance(factory, MethodType):
        yield from _definitions(factory.__self__)
    elif isinstance(factory, type | FunctionType):
        yield factory
    else:
        yield type(factory)
