"""What differs between two configurations, and how a reload applies each change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from procorch.daemon.config import keys, own_keys
from procorch.daemon.config.tables import Effect, Key
from procorch.daemon.config.value_text import fields_of, inner, text_of
from procorch.daemon.specs import AgentSpec, Config, DaemonSettings
from procorch.errors.redaction import HIDDEN, is_secret_name

Kind: TypeAlias = Literal["added", "removed", "live", "rolling", "restart"]

DAEMON = "[daemon]"
"""The name of changes of the daemon itself; no agent can have it."""
_STRONGEST: tuple[Effect, ...] = ("restart", "rolling", "live")
_OF_THE_TREE = ("kind", "parent")
"""What a running agent cannot change: it is stopped, and started anew."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one agent, or of the daemon.

    Args:
        name: of the agent; `DAEMON` for the daemon.
        change: "added" and "removed"; "live": it applies to the processes that run; "rolling":
            processes are replaced one by one; "restart": the agent is stopped and started anew, or
            the daemon must be.
        keys: what has changed, in the order of the reference; none of what is added or removed.
    """

    name: str
    change: Kind
    keys: tuple[str, ...] = ()


def difference(old: Config, new: Config) -> list[Change]:
    """What differs, in the order of the files: the daemon, agents of the new one, removed ones."""
    changes = []
    daemon = _changed(_of_daemon(old.daemon), _of_daemon(new.daemon), own_keys.DAEMON)
    if daemon:
        changes.append(Change(DAEMON, _strongest(daemon, own_keys.DAEMON), tuple(daemon)))
    olds, names = {spec.name: spec for spec in old.agents}, {spec.name for spec in new.agents}
    for spec in new.agents:
        before = olds.get(spec.name)
        if before is None:
            changes.append(Change(spec.name, "added"))
            continue
        found = _changed(_of_agent(before), _of_agent(spec), keys.AGENT)
        tree = [name for name in _OF_THE_TREE if getattr(before, name) != getattr(spec, name)]
        if tree:
            changes.append(Change(spec.name, "restart", (*tree, *found)))
        elif found:
            changes.append(Change(spec.name, _strongest(found, keys.AGENT), tuple(found)))
    return [*changes, *(Change(name, "removed") for name in olds if name not in names)]


def texts(old: Config, new: Config, changes: Sequence[Change] | None = None) -> list[str]:
    """The difference as lines for a person, such as ``~ solver: max_restarts 3 -> 5``.

    Secrets are shown by their references, and values of variables whose names say that they are
    secret as ``***``.

    Args:
        changes: None: all of `difference`. Keys that a configuration does not have, such as
            "code", are shown by their names.
    """
    lines = []
    for change in difference(old, new) if changes is None else changes:
        if change.change in ("added", "removed"):
            lines.append(f"{'+' if change.change == 'added' else '-'} {change.name}")
            continue
        how = "" if change.change == "live" else f" ({change.change})"
        lines += [f"~ {change.name}: {each}{how}" for each in _lines(old, new, change)]
    return lines


def _of_daemon(daemon: DaemonSettings) -> dict[str, Any]:
    values = {field.name: getattr(daemon, field.name) for field in dataclasses.fields(daemon)}
    return values | {"dir": str(daemon.dir)}


def _of_agent(spec: AgentSpec) -> dict[str, Any]:
    """The values of all its keys, also of those that the file does not have."""
    values: dict[str, Any] = {
        name: getattr(spec, "factory" if name == "run" else name)
        for name in own_keys.AGENT
        if spec.kind in keys.AGENT[name].kinds
    }
    if spec.env_file is not None:
        values["env_file"] = str(spec.env_file)
    values["instances"] = spec.instances
    for name, key in keys.SETTINGS.items():
        values.setdefault(name, spec.settings.get(name, keys.usual(name, key, spec.kind)))
    return values


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], table: Mapping[str, Key]) -> list[str]:
    return [name for name in table if name in old and name in new and old[name] != new[name]]


def _strongest(names: Iterable[str], table: Mapping[str, Key]) -> Effect:
    effects = {table[name].effect for name in names}
    return next(each for each in _STRONGEST if each in effects)


def _lines(old: Config, new: Config, change: Change) -> Iterator[str]:
    table: Mapping[str, Key] = own_keys.DAEMON if change.name == DAEMON else keys.AGENT
    before, after = _values(old, change.name), _values(new, change.name)
    for name in change.keys:
        if name in _OF_THE_TREE:
            yield f"{name} {_word(old, change.name, name)} -> {_word(new, change.name, name)}"
        elif name in table:
            yield from _of_key(name, table[name], before.get(name), after.get(name))
        else:
            yield name


def _values(config: Config, name: str) -> dict[str, Any]:
    if name == DAEMON:
        return _of_daemon(config.daemon)
    spec = config.get(name)
    return {} if spec is None else _of_agent(spec)


def _word(config: Config, agent: str, name: str) -> str:
    return str(getattr(config.get(agent), name, None) or "none")


def _of_key(name: str, key: Key, old: Any, new: Any) -> Iterator[str]:
    """A line for a key, or one for each key of a table."""
    if key.each is None and (key.fields is None or old is None or new is None):
        yield f"{name} {text_of(old, key)} -> {text_of(new, key)}"
        return
    before, after = fields_of(old), fields_of(new)
    for each in dict.fromkeys((*before, *after)):
        if each not in before or each not in after or before[each] != after[each]:
            texts = [_entry(name, key, each, values) for values in (before, after)]
            yield f"{name}.{each} {texts[0]} -> {texts[1]}"


def _entry(name: str, key: Key, entry: str, values: Mapping[str, Any]) -> str:
    if entry not in values:
        field = None if key.fields is None else key.fields[entry]
        return "none" if field is None else text_of(field.default, field)
    if name == "env" and is_secret_name(entry):
        return HIDDEN
    return text_of(values[entry], inner(key, entry))
