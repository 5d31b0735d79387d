"""Which agents a command means: by name, by glob (``web-*``), by group (``workers:*``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from procorch.daemon.errors import UnknownAgent
from procorch.errors.texts import did_you_mean

_GLOB = "*?["


def select(patterns: Sequence[str], names: Mapping[str, str | None]) -> list[str]:
    """The names that the patterns mean, each once, in the order of ``names``.

    Args:
        patterns: names, globs, or ``GROUP:GLOB`` for agents of a group; none: all agents. A name
            that is there means itself, whatever characters it has.
        names: all agents, each with its group.

    Raises:
        UnknownAgent: a pattern means none of them.
    """
    if not patterns:
        return list(names)
    chosen: set[str] = set()
    for pattern in patterns:
        found = _meant_by(pattern, names)
        if not found:
            raise _unknown(pattern, names)
        chosen.update(found)
    return [name for name in names if name in chosen]


def exact(name: str, names: Mapping[str, str | None]) -> str:
    """The name itself, if there is an agent of that name.

    Raises:
        UnknownAgent: there is none.
    """
    if name not in names:
        raise _unknown(name, names)
    return name


def _meant_by(pattern: str, names: Mapping[str, str | None]) -> list[str]:
    if pattern in names:
        return [pattern]
    group, colon, inside = pattern.partition(":")
    if colon:
        members = [name for name, its in names.items() if its and fnmatchcase(its, group)]
        return [name for name in members if fnmatchcase(name, inside)]
    if not any(sign in pattern for sign in _GLOB):
        return []
    return [name for name in names if fnmatchcase(name, pattern)]


def _unknown(pattern: str, names: Mapping[str, str | None]) -> UnknownAgent:
    if not names:
        return UnknownAgent(f"there is no agent {pattern!r}: the configuration has no agents")
    known = [*names, *sorted({f"{group}:*" for group in names.values() if group})]
    near = did_you_mean(pattern, known, listed="the agents are")
    group, colon, _ = pattern.partition(":")
    if colon:
        return UnknownAgent(f"no agent of a group {group!r} matches {pattern!r}{near}")
    if any(sign in pattern for sign in _GLOB):
        return UnknownAgent(f"no agent matches {pattern!r}{near}")
    return UnknownAgent(f"there is no agent {pattern!r}{near}")
