"""Find what ``path/to/file.py:name`` or ``package.module:name`` names."""

from __future__ import annotations

import os
import sys

NAMED = "write package.module:name or path/to/file.py:name"


class Refused(Exception):
    """There is nothing that could be measured; the text says what to change."""


def find(app: str) -> object:
    """What ``app`` names; its module is imported.

    A file imports from its own directory, as a script does; a module is also looked for in the
    working directory.
    """
    where, colon, name = app.rpartition(":")
    if not colon or not where or not name:
        raise Refused(f"{app!r} names no factory or function: {NAMED}")
    found = _load_file(where) if where.endswith(".py") else _load_module(where)
    for part in name.split("."):
        if not hasattr(found, part):
            hint = _did_you_mean(part, dir(found))
            raise Refused(f"{app!r}: {where} has no {part!r}{hint}")
        found = getattr(found, part)
    if not callable(found):
        kind = type(found).__name__
        raise Refused(f"{app!r}: a factory is a function without arguments, not {kind}")
    return found


def _load_file(where: str) -> object:
    """Import a file: as a script it begins in its own folder, as part of a package in the folder
    of the outermost one."""
    if not os.path.isfile(where):
        folder, file = os.path.split(where)
        raise Refused(f"there is no file {where!r}{_did_you_mean(file, _files(folder or '.'))}")
    path = os.path.abspath(where)
    root, name = os.path.split(path[: -len(".py")])
    while os.path.isfile(os.path.join(root, "__init__.py")) and os.path.dirname(root) != root:
        root, package = os.path.split(root)
        name = f"{package}.{name}"
    if root not in sys.path:
        sys.path.insert(0, root)
    if name.partition(".")[0] not in sys.modules and "." not in os.path.basename(path)[:-3]:
        module = _import(name, where)
        if _is_of(module, path):
            return module
    # The name belongs to another module, of the standard library for example.
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("app_" + name.replace(".", "_"), path)
    assert spec is not None and spec.loader is not None  # noqa: PT018
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _does_not_import(where, error) from error
    return module


def _is_of(module: object, path: str) -> bool:
    origin = getattr(module, "__file__", None)
    return origin is not None and os.path.samefile(origin, path)


def _files(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _did_you_mean(word: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _load_module(name: str) -> object:
    if "/" in name:
        raise Refused(f"{name!r} is no module: write {name}.py")
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    return _import(name, name)


def _import(name: str, shown: str) -> object:
    from importlib import import_module

    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        raise _does_not_import(shown, error) from error


def _does_not_import(shown: str, error: BaseException) -> Refused:
    at, place = "", error.__traceback__
    while place is not None:
        file = place.tb_frame.f_code.co_filename
        if not file.startswith("<frozen") and file != __file__:
            at = f" ({file}:{place.tb_lineno})"
        place = place.tb_next
    if isinstance(error, SyntaxError):
        at = f" ({error.filename}:{error.lineno})"
    kind = type(error).__name__
    return Refused(f"{shown!r} does not import: {kind}: {error}{at}")
