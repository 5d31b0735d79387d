"""The argument APP: ``package.module:factory`` or ``path/to/file.py:factory``."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from procorch.cli.exits import Misconfigured


def load(app: str) -> Callable[[], Any]:
    """The factory that ``app`` names.

    Raises:
        Misconfigured: there is none, or its module does not import; the text says why, and where.
    """
    where, colon, name = app.rpartition(":")
    if not (colon and where and name):
        raise Misconfigured(
            f"{app!r} is not an agent; write package.module:factory or path/to/file.py:factory"
        )
    module = _of_file(Path(where)) if where.endswith(".py") else _of_name(where)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, vars(found), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise Misconfigured(f"{where} has no {part!r}{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise Misconfigured(f"{app} is not callable, it is {type(found).__name__}")
    factory: Callable[[], Any] = found
    return factory


def _of_name(name: str) -> ModuleType:
    # As `python -m` does it: what lies in the working directory can be named.
    _find_in(Path.cwd())
    return _imported(name, name)


def _of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise Misconfigured(f"{path} cannot be read: there is no such file")
    if not path.stem.isidentifier():
        raise Misconfigured(
            f"{path}: {path.stem!r} cannot be the name of a module; rename the file"
        )
    _find_in(path.resolve().parent)  # workers import it by its name from there
    module = _imported(path.stem, str(path))
    origin = getattr(module, "__file__", None)
    if origin is None or not os.path.samefile(origin, path):
        raise Misconfigured(
            f"{path}: a module {path.stem!r} is there already ({origin or 'built in'}); rename the "
            "file"
        )
    return module


def _find_in(directory: Path) -> None:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))


def _imported(name: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise Misconfigured(f"{what} does not import: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The error in a line, with the last place in the user's code where it came through."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text
