"""What ``APP`` on a command line means: ``package.module:factory``, ``path/to/file.py:factory``."""

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

    Modules are looked for in the working directory, too; a file's own directory is where it imports
    from, as for a script.

    Raises:
        Misconfigured: it does not import, or names no callable, with the reason.
    """
    where, colon, name = app.rpartition(":")
    if not colon or not where or not name:
        raise Misconfigured(
            f"{app!r} names no factory: write package.module:factory or path/to/file.py:factory"
        )
    module = _import_file(Path(where)) if where.endswith(".py") else _import(where, os.getcwd())
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise Misconfigured(f"{app!r}: {where} has no {part!r}{hint}")
        found = getattr(found, part)
    if not callable(found):
        raise Misconfigured(
            f"{app!r}: a factory is a function without arguments, not {type(found).__name__}"
        )
    factory: Callable[[], Any] = found
    return factory


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise Misconfigured(f"there is no file {str(path)!r}")
    module = _import(path.stem, str(path.resolve().parent))
    if not module.__file__ or not os.path.samefile(module.__file__, path):
        raise Misconfigured(
            f"{str(path)!r} has the name of a module that Python knows as {module.__file__}: "
            "rename it"
        )
    return module


def _import(name: str, directory: str) -> ModuleType:
    if directory not in sys.path:
        sys.path.insert(0, directory)  # workers get the path, too
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        at = "" if last.filename.startswith("<frozen") else f" ({last.filename}:{last.lineno})"
        if isinstance(error, SyntaxError):
            at = f" ({error.filename}:{error.lineno})"
        raise Misconfigured(
            f"{name!r} does not import: {type(error).__name__}: {error}{at}"
        ) from error
