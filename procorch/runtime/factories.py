"""Factories on their way to workers: serialised, and with the modules that they come from."""

from __future__ import annotations

import functools
import importlib
import pickle
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any

from msgspec import Struct

from procorch.agents import import_path
from procorch.wire import codec
from procorch.wire.byvalue.selection import by_reference


class Modules(Struct, frozen=True):
    """The modules of a factory; see `launch.base.Code`.

    Args:
        names: of modules that an import statement finds.
        apps: `procorch.agents.apps.App` without the name of a factory: each knows where its module
            is.
    """

    names: tuple[str, ...]
    apps: tuple[Any, ...] = ()

    def load(self) -> None:
        """Import them."""
        for app in self.apps:
            app.load_module()
        for name in self.names:
            importlib.import_module(name)

    def __str__(self) -> str:
        return ", ".join((*(app.where for app in self.apps), *self.names))


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
    parts = list(_parts(factory))
    apps = dict.fromkeys(each.without_name() for each in parts if _is_app(each))
    names = dict.fromkeys(
        each.__module__
        for each in parts
        if not _is_app(each)
        and by_reference(each)
        and not import_path.is_needed(each.__module__.partition(".")[0])
    )
    return pickle.dumps(Modules(tuple(names), tuple(apps))) if names or apps else b""


def _is_app(value: object) -> bool:
    apps = sys.modules.get("procorch.agents.apps")
    return apps is not None and isinstance(value, apps.App)


def _parts(factory: Any) -> Iterator[Any]:
    """The functions, classes and apps that a factory consists of."""
    if isinstance(factory, functools.partial):
        for part in (factory.func, *factory.args, *factory.keywords.values()):
            if callable(part):
                yield from _parts(part)
    elif isinstance(factory, MethodType):
        yield from _parts(factory.__self__)
    elif isinstance(factory, type | FunctionType) or _is_app(factory):
        yield factory
    else:
        yield type(factory)
