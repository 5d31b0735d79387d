"""Reads a configuration: ``procorch.toml``, or ``[tool.procorch]`` of ``pyproject.toml``.

All errors of all files are reported together, each with its file and line. Code of the user is
never imported.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from procorch.daemon.config import own_keys, relations, safe_files
from procorch.daemon.config.agent_tables import Reader, read_defaults
from procorch.daemon.config.files import Source, find, read_all, shown
from procorch.daemon.config.tables import Table, read
from procorch.daemon.errors import ConfigErrors, Problem
from procorch.daemon.specs import Config, DaemonSettings


def load(path: Path | None, *, folder: Path | None = None) -> Config:
    """The configuration that a file describes, with the files that it includes.

    Args:
        path: the file; None: that of ``folder``.
        folder: where the file is looked for; None: the current folder.

    Raises:
        ConfigErrors: everything that is wrong with it.
    """
    where = Path(os.path.abspath("." if folder is None else folder))
    path = find(where) if path is None else Path(os.path.abspath(where / path))
    problems: list[Problem] = []
    sources = read_all(path, problems)
    if not sources:
        raise ConfigErrors(problems)
    complete = not problems
    base = path.parent
    for source in sources:
        _check_top(source, first=sources[0])
    daemon = _daemon(sources[0], base)
    reader = Reader(base, read_defaults(sources[0], base))
    nodes = [node for source in sources for node in reader.nodes(source)]
    warnings = relations.check(nodes, complete=complete)
    if problems:
        raise ConfigErrors(_sorted(problems, sources))
    if not nodes:
        warnings.append(f"{shown(path)}: there is no agent: write a table [agents.NAME]")
    return Config(
        file=path,
        files=tuple(source.path for source in sources),
        daemon=daemon,
        agents=tuple(map(reader.spec, nodes)),
        warnings=tuple(warnings),
    )


def _check_top(source: Source, *, first: Source) -> None:
    inner = tuple(own_keys.TOP)
    if source is not first:
        inner = tuple(each for each in inner if each not in own_keys.FIRST_FILE)
        for name in own_keys.FIRST_FILE:
            if name in source.table:
                source.report((name,), f"it belongs into {shown(first.path)}: it holds for all")
    given = {name: value for name, value in source.table.items() if name not in own_keys.FIRST_FILE}
    read(given, Table({}, own_keys.LATER, inner), (), source.report)


def _daemon(source: Source, folder: Path) -> DaemonSettings:
    table = Table(own_keys.DAEMON, own_keys.LATER_OF_DAEMON)
    values: dict[str, Any] = read(source.table.get("daemon", {}), table, ("daemon",), source.report)
    values["dir"] = safe_files.located(folder, values.get("dir", own_keys.DAEMON["dir"].default))
    return DaemonSettings(**values)


def _sorted(problems: list[Problem], sources: list[Source]) -> list[Problem]:
    order = {shown(source.path): number for number, source in enumerate(sources)}
    return sorted(problems, key=lambda each: (order.get(each.file, len(order)), each.line or 0))
