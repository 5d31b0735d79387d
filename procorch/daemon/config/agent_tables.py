"""The tables of agents, services and programs: each becomes an `AgentSpec`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from procorch.agents.argv_template import ArgvTemplate
from procorch.daemon.config import checks, keys, own_keys, safe_files, secrets
from procorch.daemon.config.files import Source
from procorch.daemon.config.tables import Table, attempt, read
from procorch.daemon.config.toml_places import KeyPath
from procorch.daemon.errors import FileRefused
from procorch.daemon.specs import AgentSpec, Kind

_MAKERS = {"agents": ("factory", "command"), "services": ("run", "command")}
"""Exactly one of these keys makes an agent, or a service."""
_MERGED = ("env", "secrets")


@dataclass(slots=True)
class Node:
    """A table of an agent.

    Args:
        source: the file that has it.
        path: where it is there.
        values: its checked keys, with those of ``[defaults]``.
    """

    name: str
    kind: Kind
    source: Source
    path: KeyPath
    parent: Node | None
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings of the library."""
        return {name: value for name, value in self.values.items() if name in keys.SETTINGS}

    def report(self, text: str, *below: str | int) -> None:
        """An error of the table, or of a key in it."""
        self.source.report((*self.path, *below), text)


class Reader:
    """Reads the tables of agents of one configuration.

    Args:
        folder: that relative paths begin in.
        defaults: the values of ``[defaults]``.
    """

    def __init__(self, folder: Path, defaults: Mapping[str, Any]) -> None:
        self._folder = folder
        self._defaults = defaults

    def nodes(self, source: Source) -> Iterator[Node]:
        """The agents of a file, parents before their children, in the order of the file."""
        yield from self._inside(source, source.table, (), None)

    def _inside(
        self, source: Source, table: Mapping[str, Any], path: KeyPath, parent: Node | None
    ) -> Iterator[Node]:
        found = []
        for section in own_keys.INNER:
            tables = table.get(section, {})
            if not isinstance(tables, dict):
                what = f"must be a table of tables, [{section}.NAME]"
                source.report((*path, section), f"{what}, not {checks.kind_of(tables)}")
                continue
            for name, given in tables.items():
                where = (*path, section, name)
                attempt(source.report, where, checks.agent_name, name, "name")
                found.append((source.line(where), where, given))
        for _, where, given in sorted(found, key=lambda each: each[0]):
            node = self._node(source, where, given, parent)
            yield node
            if isinstance(given, dict):
                yield from self._inside(source, given, where, node)

    def _node(self, source: Source, path: KeyPath, given: Any, parent: Node | None) -> Node:
        section, name = path[-2:]
        first, second = _MAKERS[str(section)]
        table = given if isinstance(given, dict) else {}
        programs = second in table and first not in table
        kind: Kind
        if section == "agents":
            kind = "command" if programs else "agent"
        else:
            kind = "program" if programs else "service"
        node = Node(str(name), kind, source, path, parent)
        if first in table and second in table:
            node.report(f"not together with {first}: one of the two makes it", second)
            given = {key: value for key, value in table.items() if key != second}
        elif isinstance(given, dict) and not table.keys() & {"factory", "run", "command"}:
            node.report(f"{first} or {second} is missing")
        before = len(source.problems)
        own = read(given, keys.agent_table(kind), path, source.report)
        check_files(source, path, own, self._folder)
        self._check_variables(node, own)
        node.values = self._with_defaults(kind, own)
        if kind == "program":
            _refuse_fields(node)
        if len(source.problems) == before:
            above = None if parent is None else parent.settings
            for text in keys.contradictions(node.name, kind, node.settings, above):
                node.report(text)
        return node

    def _check_variables(self, node: Node, own: Mapping[str, Any]) -> None:
        for name in own.get("secrets", {}):
            if name in own.get("env", {}):
                node.report("it is in env, too", "secrets", name)

    def _with_defaults(self, kind: Kind, own: Mapping[str, Any]) -> dict[str, Any]:
        values = {
            name: value
            for name, value in self._defaults.items()
            if kind in keys.DEFAULTS[name].kinds
        }
        for name in _MERGED:
            above, below = values.get(name, {}), own.get(name, {})
            other = own.get(_MERGED[1 - _MERGED.index(name)], {})
            merged = {each: value for each, value in above.items() if each not in other} | below
            values[name] = merged
        return values | {name: value for name, value in own.items() if name not in _MERGED}

    def spec(self, node: Node) -> AgentSpec:
        """What a table without errors says."""
        values = dict(node.values)
        settings = {name: values.pop(name) for name in keys.SETTINGS if name in values}
        instances = settings.pop("instances", 1)
        settings["cwd"] = str(safe_files.located(self._folder, settings.get("cwd") or "."))
        if values.get("env_file") is not None:
            values["env_file"] = safe_files.located(self._folder, values["env_file"])
        factory = values.pop("factory", None) or values.pop("run", None)
        return AgentSpec(
            name=node.name,
            kind=node.kind,
            place=node.source.place(node.path),
            factory=factory,
            parent=None if node.parent is None else node.parent.name,
            settings=settings,
            instances=instances,
            **values,
        )


def read_defaults(source: Source, folder: Path) -> dict[str, Any]:
    """The values of ``[defaults]``."""
    given, path = source.table.get("defaults", {}), ("defaults",)
    table = Table(keys.DEFAULTS, own_keys.LATER_OF_AGENTS, tuple(own_keys.NOT_DEFAULTS))
    values = read(given, table, path, source.report)
    if isinstance(given, dict):
        for name in given.keys() & own_keys.NOT_DEFAULTS:
            source.report((*path, name), "each agent has its own: write it into [agents.NAME]")
    check_files(source, path, values, folder)
    return values


def check_files(source: Source, path: KeyPath, values: Mapping[str, Any], folder: Path) -> None:
    """Report the files that a table names and that are not there, or not safe."""
    for name in ("factory", "run", "on_failure"):
        if values.get(name) is not None:
            attempt(source.report, (*path, name), checks.app, values[name], name, folder)
    cwd = values.get("cwd")
    if cwd is not None and not safe_files.located(folder, cwd).is_dir():
        source.report((*path, "cwd"), f"there is no folder {cwd!r}")
    try:
        if values.get("env_file") is not None:
            secrets.read_env_file(safe_files.located(folder, values["env_file"]))
    except FileRefused as error:
        source.report((*path, "env_file"), str(error))
    for name, reference in values.get("secrets", {}).items():
        # What other references name is there when the daemon runs, and maybe not yet.
        if reference.startswith("file:"):
            try:
                secrets.read_secret(reference, folder)
            except FileRefused as error:
                source.report((*path, "secrets", name), str(error))


def _refuse_fields(node: Node) -> None:
    words = node.values.get("command")
    if words is not None and (fields := ArgvTemplate.parse(words).fields):
        name = f"{{{fields[0]}}}"
        node.report(
            f"a service runs without a request, so there is nothing for {name}; a brace of the "
            "program's own is written twice",
            "command",
        )
