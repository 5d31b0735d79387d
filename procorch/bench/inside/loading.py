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
            from difflib import get_close_matches

            near = get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise Refused(f"{app!r}: {where} has no {part!r}{hint}")
        found = getattr(found, part)
    if not callable(found):
        kind = type(found).__name__
        raise Refused(f"{app!r}: a factory is a function without arguments, not {kind}")
    return found


def _load_file(where: str) -> object:
    if not os.path.isfile(where):
        raise Refused(f"there is no file {where!r}")
    path = os.path.realpath(where)
    directory, file = os.path.split(path)
    if directory not in sys.path:
        sys.path.insert(0, directory)
    name = file[: -len(".py")]
    if name not in sys.modules and "." not in name:
        module = _import(name)
        if os.path.realpath(getattr(module, "__file__", None) or "") == path:
            return module
    # The name belongs to another module, of the standard library for example.
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("app_" + name, path)
    assert spec is not None and spec.loader is not None  # noqa: PT018
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        raise _does_not_import(name, error) from error
    return module


def _load_module(name: str) -> object:
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    return _import(name)


def _import(name: str) -> object:
    from importlib import import_module

    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        raise _does_not_import(name, error) from error


def _does_not_import(name: str, error: BaseException) -> Refused:
    at, place = "", error.__traceback__
    while place is not None:
        file = place.tb_frame.f_code.co_filename
        if not file.startswith("<frozen") and file != __file__:
            at = f" ({file}:{place.tb_lineno})"
        place = place.tb_next
    if isinstance(error, SyntaxError):
        at = f" ({error.filename}:{error.lineno})"
    kind = type(error).__name__
    return Refused(f"{name!r} does not import: {kind}: {error}{at}")
