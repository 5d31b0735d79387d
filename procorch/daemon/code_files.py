"""Which files the code of an agent comes from, found without running any of it.

The daemon never imports user code, so it follows the import statements in the sources: from the
module of a factory to all modules in the folders of the project. Installed packages do not count,
nor what is imported by a computed name; `reload NAME` replaces an agent in any case.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from procorch.agents.apps import App, AppError
from procorch.daemon.config import safe_files
from procorch.daemon.errors import ConfigErrors, FileRefused, Problem
from procorch.daemon.specs import AgentSpec

Code = dict[Path, str]
"""The files of an agent's code, each with a hash of its content."""


def code_of(spec: AgentSpec) -> Code:
    """The files that the code of an agent comes from, as they are now.

    A file that cannot be read, or that is not Python, counts with what it holds.
    """
    found: Code = {}
    if spec.factory is None:
        return found
    try:
        app = App.parse(spec.factory)
    except AppError:  # the file is not there: its return is a change
        return found
    folders = [Path(each) for each in (*app.first, *app.last)]
    if Path(app.where).is_absolute():
        wanted = [Path(app.where)]
    else:
        wanted = list(_files_of(app.where, folders))
    for name in spec.preload:
        wanted += _files_of(name, folders)
    while wanted:
        path = wanted.pop()
        if path in found:
            continue
        try:
            source = path.read_bytes()
        except OSError:
            continue
        found[path] = hashlib.sha256(source).hexdigest()
        wanted += _imported(source, path, folders)
    return found


def must_be_safe(specs: Iterable[AgentSpec], codes: Mapping[str, Iterable[Path]]) -> None:
    """Refuse code that others could change: it runs as the user.

    Args:
        codes: the files of each agent's code, by its name.

    Raises:
        ConfigErrors: a problem for each such file, at the first agent that has it.
    """
    problems, seen = [], set[Path]()
    for spec in specs:
        for path in codes.get(spec.name, ()):
            if path in seen or not path.is_absolute():
                continue
            seen.add(path)
            try:
                safe_files.must_be_safe(path)
            except FileRefused as error:
                file, _, line = spec.place.rpartition(":")
                problems.append(Problem(file, int(line), spec.name, f"its code {path}: {error}"))
    if problems:
        raise ConfigErrors(problems)


def _imported(source: bytes, path: Path, folders: list[Path]) -> Iterator[Path]:
    try:
        parsed = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of(alias.name, folders)
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if node.level:
                base = path.parent
                for _ in range(node.level - 1):
                    base = base.parent
                stem = (node.module or "").replace(".", "/")
                yield from _below(base / stem if stem else base, names)
            elif node.module:
                yield from _files_of(node.module, folders)
                for folder in folders:
                    yield from _below(folder / node.module.replace(".", "/"), names)


def _files_of(module: str, folders: Iterable[Path]) -> Iterator[Path]:
    """The file of a module and those of the packages that it is in."""
    parts = module.split(".")
    for folder in folders:
        first = _file(folder / parts[0])
        if first is None:
            continue
        yield first
        for end in range(2, len(parts) + 1):
            inner = _file(folder.joinpath(*parts[:end]))
            if inner is not None:
                yield inner
        return


def _below(place: Path, names: Iterable[str]) -> Iterator[Path]:
    """A package or module, and those of ``names`` that are modules in it."""
    for each in (place, *(place / name for name in names)):
        found = _file(each)
        if found is not None:
            yield found


def _file(place: Path) -> Path | None:
    for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if path.is_file():
            return path
    return None
