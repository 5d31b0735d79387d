"""What identifies a factory for a later run: its name, its source, the values it closes over."""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from procorch.agents.apps import App
from procorch.agents.command import Command

_PLAIN = (str, int, float, bool, bytes, type(None))
_LONGEST = 100_000
_SHOWN = 40
"""Lines of a difference that are shown."""


def name_of(factory: Callable[[], Any]) -> str:
    """``module:name``, as on the command line."""
    if isinstance(factory, App) and factory.facts is not None:
        return factory.facts.name
    if isinstance(factory, Command):
        return f"exec:{factory.name}"
    inner = factory
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return f"{getattr(inner, '__module__', None) or '?'}:{name}"


def folder_of(factory: Callable[[], Any]) -> str | None:
    """The folder from which the factory's module is imported; None where there is none."""
    if isinstance(factory, App) and factory.facts is not None:
        return factory.facts.folder
    while isinstance(factory, functools.partial):
        factory = factory.func
    module = sys.modules.get(getattr(factory, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return None
    path = Path(os.path.abspath(file))
    depth = module.__name__.count(".") + (path.name == "__init__.py")
    return str(path.parents[depth])


def describe(factory: Callable[[], Any]) -> str:
    """The source of the factory and the values it closes over, as text.

    The functions that it calls are not part of the text, so a change of them is not noticed.
    """
    if isinstance(factory, App) and factory.facts is not None:
        return factory.facts.recipe
    if isinstance(factory, Command):
        return factory.recipe
    parts = []
    while isinstance(factory, functools.partial):
        parts.append(f"# partial: {_shown(factory.args)} {_shown(factory.keywords)}\n")
        factory = factory.func
    try:
        parts.append(inspect.getsource(factory))
    except (OSError, TypeError):  # typed into a shell, or not written in Python
        code = getattr(factory, "__code__", None)
        parts.append(f"{name_of(factory)} {'' if code is None else code.co_code.hex()}\n")
    for name, cell in zip(
        getattr(getattr(factory, "__code__", None), "co_freevars", ()),
        getattr(factory, "__closure__", None) or (),
        strict=False,
    ):
        try:
            parts.append(f"# {name} = {_shown(cell.cell_contents)}\n")
        except ValueError:  # not yet assigned
            continue
    return "".join(parts)[:_LONGEST]


def difference(before: str, now: str) -> str:
    """What has changed, as a unified diff."""
    lines = list(
        difflib.unified_diff(before.splitlines(), now.splitlines(), "then", "now", lineterm="", n=2)
    )
    more = [f"... {len(lines) - _SHOWN} more lines"] if len(lines) > _SHOWN else []
    return "\n".join(lines[:_SHOWN] + more)


def _shown(value: object) -> str:
    """A value as text that is the same in every process."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_shown, value))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k!r}: {_shown(v)}' for k, v in value.items())}}}"
    return f"<{type(value).__qualname__}>"
