"""The files of a configuration: finds, reads and parses them, and knows the line of each key."""

from __future__ import annotations

import glob
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from procorch.daemon.config import checks, safe_files
from procorch.daemon.config.tables import attempt
from procorch.daemon.config.toml_places import KeyPath, places
from procorch.daemon.errors import ConfigErrors, FileRefused, Problem

NAME = "procorch.toml"
_PROJECT = "pyproject.toml"
_IN_PROJECT = ("tool", "procorch")
MOST = 1 << 20
"""Bytes of a file."""
_AT_LINE = re.compile(r" \(at line (\d+), column (\d+)\)$")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Source:
    """One file.

    Args:
        path: the file, an absolute path.
        table: what it says about procorch.
        lines: of all keys.
        prefix: the tables above ``table``.
        problems: collects the errors of all files.
    """

    path: Path
    table: Mapping[str, Any]
    lines: Mapping[KeyPath, int]
    prefix: KeyPath
    problems: list[Problem]

    def line(self, path: KeyPath) -> int:
        """The line of a key, or of the nearest table above it."""
        path = self.prefix + path
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def report(self, path: KeyPath, text: str) -> None:
        """An error at a key."""
        self.problems.append(Problem(shown(self.path), self.line(path), dotted(path), text))

    def place(self, path: KeyPath) -> str:
        """A key's place as ``file:line``."""
        return f"{shown(self.path)}:{self.line(path)}"


def dotted(path: KeyPath) -> str:
    """A path of keys as TOML writes it, without places in arrays."""
    keys = (key for key in path if isinstance(key, str))
    return ".".join(key if _PLAIN_KEY.fullmatch(key) else repr(key) for key in keys)


def shown(path: Path) -> str:
    """A file as the user sees it: relative to the current folder, if it is below that."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def find(folder: Path) -> Path:
    """The file of a folder: ``procorch.toml``, or ``pyproject.toml`` with ``[tool.procorch]``.

    Raises:
        ConfigErrors: there is none.
    """
    if (folder / NAME).exists():
        return folder / NAME
    project = folder / _PROJECT
    problems: list[Problem] = []
    if project.exists():
        source = _read(project, problems)
        if source is None:
            raise ConfigErrors(problems)
        if source.prefix:
            return project
    text = f"it has no {NAME}, and no {_PROJECT} with [tool.procorch]: procorch init makes one"
    raise ConfigErrors([Problem(str(folder), None, "", text)])


def read_all(path: Path, problems: list[Problem]) -> list[Source]:
    """A file and all files that it includes, itself first. Errors are added to ``problems``."""
    found: dict[str, Source] = {}
    _read_with_included(path, (), found, problems, None)
    return list(found.values())


def _read_with_included(
    path: Path, above: tuple[Path, ...], found: dict[str, Source], problems: list[Problem],
    report: Callable[[str], None] | None,
) -> None:  # fmt: skip
    """Read a file and those that it includes.

    Args:
        above: the files by which it is included.
        report: is told that it includes itself; None: it is the first file.
    """
    real = os.path.realpath(path)
    circle = [os.path.realpath(each) for each in above]
    if real in circle and report is not None:
        names = [shown(each) for each in (*above[circle.index(real) :], path)]
        report(f"files include each other in a circle: {' -> '.join(names)}")
        return
    if real in found:
        return
    source = _read(path, problems)
    if source is None:
        return
    if path.name == _PROJECT and not source.prefix and report is None:
        problems.append(Problem(shown(path), None, "", "it has no table [tool.procorch]"))
        return
    found[real] = source
    given = source.table.get("include", [])
    patterns = attempt(source.report, ("include",), checks.names, given, "include")
    for number, pattern in enumerate(patterns or ()):

        def refuse(text: str, where: KeyPath = ("include", number)) -> None:
            source.report(where, text)

        for each in _matching(path.parent, pattern, refuse):
            _read_with_included(each, (*above, path), found, problems, refuse)


def _matching(folder: Path, pattern: str, refuse: Callable[[str], None]) -> list[Path]:
    names = sorted(glob.glob(pattern, root_dir=folder, recursive=True))
    if not names and not glob.has_magic(pattern):
        refuse(f"there is no file {pattern!r} in {str(folder)!r}")
    return [folder / name for name in names]


def _read(path: Path, problems: list[Problem]) -> Source | None:
    """Read and parse a file; None: it has an error, which is added to ``problems``."""

    def refuse(line: int | None, text: str) -> None:
        problems.append(Problem(shown(path), line, "", text))

    try:
        data = safe_files.read(path, MOST)
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        table = tomllib.loads(text)
        lines = places(text)
    except FileRefused as error:
        refuse(None, str(error))
    except UnicodeDecodeError as error:
        refuse(data.count(b"\n", 0, error.start) + 1, "it is not UTF-8")
    except RecursionError:
        refuse(None, "its arrays or tables are nested too deeply")
    except ValueError as error:  # of the syntax, or a number with too many digits
        at = _AT_LINE.search(str(error))
        line = int(at[1]) if at else text.count("\n", 0, len(text.rstrip())) + 1
        where = f" (column {at[2]})" if at else ""
        refuse(line, f"{_AT_LINE.sub('', str(error))}{where}")
    else:
        prefix = _prefix(path, table)
        if prefix:
            table = table["tool"]["procorch"]
        return Source(path, table, lines, prefix, problems)
    return None


def _prefix(path: Path, table: Mapping[str, Any]) -> KeyPath:
    tool = table.get("tool") if path.name == _PROJECT else None
    inside = tool.get("procorch") if isinstance(tool, dict) else None
    return _IN_PROJECT if isinstance(inside, dict) else ()
