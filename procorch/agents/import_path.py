"""Where a process looks for modules: those that procorch needs come first.

A file of the user may be called as one of them, such as ``gzip.py`` beside an app. Python finds it
first, because a script's own folder is where it looks first. So what procorch needs is imported
before such a folder counts.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Sequence

_PACKAGES = ("procorch", "multiprocess", "dill", "msgspec", "psutil")
_LATE = (
    "asyncio", "concurrent.futures.thread", "copy", "dill", "email.utils", "functools", "json",
    "linecache", "logging", "pickle", "tokenize", "traceback",
)  # fmt: skip
"""What a worker imports when it needs it, with all that these import."""


def own_first(paths: Iterable[str]) -> list[str]:
    """The same paths, those of the interpreter and of our own packages before all others."""
    known = list(paths)
    own = _own()
    return sorted(known, key=lambda path: not _is_own(path, own))


def use(paths: Sequence[str]) -> None:
    """Make this ``sys.path``, and import before what it would hide from us."""
    own = _own()
    first = next((n for n, path in enumerate(paths) if _is_own(path, own)), len(paths))
    if any(map(_hides, paths[:first])):
        sys.path[:] = own_first(paths)
        for name in _LATE:
            importlib.import_module(name)
    sys.path[:] = paths


def is_needed(name: str) -> bool:
    """Whether a module of this name is the standard library's, or one of our packages."""
    return name in sys.stdlib_module_names or name in _PACKAGES


def _own() -> tuple[str, set[str]]:
    """The folder of the standard library, and those in which our packages are."""
    packages = (sys.modules.get(name) for name in _PACKAGES)
    files = (getattr(package, "__file__", None) for package in packages)
    return os.path.dirname(os.__file__), {os.path.dirname(os.path.dirname(f)) for f in files if f}


def _is_own(path: str, own: tuple[str, set[str]]) -> bool:
    library, packages = own
    if not isinstance(path, str):  # Python passes over an entry that is no text
        return False
    return path in (library, os.path.join(library, "lib-dynload")) or path in packages


def _hides(folder: str) -> bool:
    """Whether a module there has the name of one of the standard library's, or of our packages."""
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    for name in names:
        stem, dot, suffix = name.partition(".")
        if is_needed(stem) and (
            suffix == "py" if dot else os.path.isfile(os.path.join(folder, name, "__init__.py"))
        ):
            return True
    return False
