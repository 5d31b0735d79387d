"""What ``APP`` on a command line means: ``package.module:factory``, ``path/to/file.py:factory``.

An `App` is a factory by its name. It is imported where it is called, in a worker, so that what its
module does when it is imported happens there: prints, `os.chdir`, a crash.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from procorch.agents import import_path
from procorch.errors.texts import did_you_mean


class AppError(ValueError):
    """An app that cannot be had; the text says why, and what to write."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the parent knows of a factory that only workers import.

    Args:
        module: the app's module is called that; the others see `procorch.batch.identity`.
    """

    module: str
    name: str
    recipe: str
    folder: str | None


@dataclass(frozen=True, slots=True)
class App:
    """A factory by its name.

    Args:
        text: as it was written.
        where: its module; or its file, as an absolute path.
        name: what it is called there.
        first: folders where modules are looked for before all others, ``last`` after them.
        preload: names of modules that are imported before it.
    """

    text: str
    where: str
    name: str
    first: tuple[str, ...]
    last: tuple[str, ...] = ()
    facts: Facts | None = None
    preload: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> App:
        """What ``text`` means here and now.

        Raises:
            AppError: it names no factory, or there is no such file.
        """
        where, colon, name = text.rpartition(":")
        if not colon or not where or not name:
            raise AppError(
                f"{text!r} names no factory: write package.module:factory or "
                "path/to/file.py:factory"
            )
        here: tuple[str, ...]
        try:
            here = (os.getcwd(),)
        except FileNotFoundError:  # it has been deleted
            here = ()
        if not where.endswith(".py"):
            if "/" in where:
                raise AppError(f"{where!r} is no module: write {where}.py:{name}")
            return cls(text, where, name, here)
        if not os.path.isfile(where):
            hint = did_you_mean(os.path.basename(where), _beside(where))
            raise AppError(f"there is no file {where!r}{hint}")
        path = Path(os.path.abspath(where))
        # Like a script's, its imports begin in the folder of the file that a link leads to, too.
        folders = (str(path.parent), os.path.dirname(os.path.realpath(path)))
        root = str(_root(path))
        if root == folders[0]:
            return cls(text, str(path), name, (*folders, *here))
        return cls(text, str(path), name, (root, *here), folders)

    def __call__(self) -> Any:
        """Make the agent, as the factory does."""
        return self.load()()

    def load(self) -> Callable[[], Any]:
        """Import the factory; modules are looked for in its folders from now on.

        Raises:
            AppError: it does not import, or there is no such factory.
        """
        found: Any = self.load_module()
        shown = self._shown
        for part in self.name.split("."):
            if not hasattr(found, part):
                names = [name for name, value in vars(found).items() if callable(value)]
                raise AppError(f"{self.text!r}: {shown} has no {part!r}{did_you_mean(part, names)}")
            found = getattr(found, part)
        if not callable(found):
            raise AppError(
                f"{self.text!r}: a factory is a function without arguments, not "
                f"{type(found).__name__}"
            )
        factory: Callable[[], Any] = found
        return factory

    def load_module(self) -> ModuleType:
        """Import the modules of ``preload``, then that of the factory; otherwise like `load`."""
        others = [path for path in sys.path if path not in self.first]
        import_path.use([*self.first, *others, *(path for path in self.last if path not in others)])
        for name in self.preload:
            self._import(name, f"preload: {name!r}")
        return self._import(self.where, repr(self._shown))

    def without_name(self) -> App:
        """Its module alone, for `load_module`: equal for all factories of one module."""
        return replace(self, text=f"{self._shown}:", name="", facts=None)

    @property
    def _shown(self) -> str:
        """Its module, as it was written."""
        return self.text.rpartition(":")[0]

    def module(self) -> str:
        """What its module is called, once it is imported."""
        path = Path(self.where)
        return _imported[path].__name__ if path in _imported else self.where

    def make_known(self) -> None:
        """Have this process find its module by name, for results of its classes.

        Its folders come after all others, so they hide nothing that this process needs.
        """
        assert self.facts is not None
        sys.path.extend(each for each in (*self.first, *self.last) if each not in sys.path)
        file = self.where if os.path.isabs(self.where) else None
        sys.meta_path.insert(0, _Place(self.facts.module, file))

    def _import(self, where: str, shown: str) -> ModuleType:
        try:
            if os.path.isabs(where):
                return _import_file(Path(where))
            return importlib.import_module(where)
        except (Exception, SystemExit) as error:
            hint = self._hint(where, error)
            why = f"{shown} does not import: {_words(error)}{_place(error)}{hint}"
            raise AppError(why) from error

    def _hint(self, where: str, error: BaseException) -> str:
        if isinstance(error, ModuleNotFoundError) and error.name == where.partition(".")[0]:
            names = [name.partition(".")[0] for each in self.first for name in os.listdir(each)]
            return did_you_mean(error.name, names)
        if isinstance(error, ImportError) and "relative import" in str(error):
            path = os.path.relpath(where, self.first[-1])
            if os.path.isabs(where) and not path.startswith(".."):
                module = path.removesuffix(".py").replace(os.sep, ".")
                return f"; as a part of its package it is {module}:{self.name}"
        return ""


class _Place(importlib.abc.MetaPathFinder):
    """Finds the module of an app in a process that is not its worker.

    Args:
        file: of the module, which may have a name that the module has not; None: it has the same.
    """

    def __init__(self, name: str, file: str | None) -> None:
        self._name = name
        self._file = file

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See ``importlib``."""
        if fullname != self._name:
            return None
        if self._file is not None:
            spec = importlib.util.spec_from_file_location(fullname, self._file)
        else:
            spec = PathFinder.find_spec(fullname, path)
        loader: Any = None if spec is None else spec.loader
        if loader is not None:
            loader.exec_module = functools.partial(_without_moving, loader.exec_module)
        return spec


def _without_moving(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Import a module that may call `os.chdir`: here paths go on meaning what they meant."""
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        execute(module)
    finally:
        os.fchdir(here)
        os.close(here)


def _beside(path: str) -> list[str]:
    try:
        return [name for name in os.listdir(os.path.dirname(path) or ".") if name.endswith(".py")]
    except OSError:
        return []


def _root(path: Path) -> Path:
    """The folder that the outermost package of a file is in; its own where it is in none."""
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder = folder.parent
    return folder


_imported: dict[Path, ModuleType] = {}


def _import_file(path: Path) -> ModuleType:
    if path not in _imported:
        parts = path.relative_to(_root(path)).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        name = ".".join(parts)
        named = "." not in parts[-1] and _is_found(name, path)
        _imported[path] = importlib.import_module(name) if named else _import_by_place(path, parts)
    return _imported[path]


def _is_found(name: str, path: Path) -> bool:
    """Whether an import of ``name`` gives this file, and hides no module that others need."""
    if import_path.is_needed(name.partition(".")[0]):
        return False
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        return False
    return spec is not None and spec.origin is not None and _is_same(spec.origin, path)


def _is_same(origin: str, path: Path) -> bool:
    try:
        return os.path.samefile(origin, path)
    except OSError:  # "built-in"
        return False


def _import_by_place(path: Path, parts: Iterable[str]) -> ModuleType:
    """Import a file that no import statement would find, under a name that is free."""
    *packages, stem = parts
    prefix = ".".join(packages)
    if prefix:
        importlib.import_module(prefix)
        prefix += "."
    name = prefix + re.sub(r"\W", "_", stem)
    while name in sys.modules or importlib.util.find_spec(name) is not None:
        name += "_"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _words(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # its own text cannot be had
        return type(error).__name__


def _place(error: BaseException) -> str:
    """Where it was raised; nothing where that is the import itself."""
    if isinstance(error, SyntaxError) and error.filename:
        return "" if error.filename in str(error) else f" ({error.filename}:{error.lineno})"
    own = (importlib.__file__, __file__)
    frames = traceback.extract_tb(error.__traceback__)
    last = next(
        (each for each in reversed(frames) if not each.filename.startswith("<frozen")), None
    )
    if last is None or last.filename in own:
        return ""
    return f" ({last.filename}:{last.lineno})"
