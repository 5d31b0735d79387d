"""Checks tables of a configuration by tables of keys. It reports every error, and raises none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from procorch.daemon.config.checks import Check, kind_of
from procorch.daemon.config.toml_places import KeyPath
from procorch.daemon.specs import Kind
from procorch.errors.texts import did_you_mean

Effect: TypeAlias = Literal["live", "rolling", "restart"]
"""How a reload applies a change of a key: to the processes that run; by replacing them one by one;
or not at all before a start of the agent, or of the daemon."""
Report: TypeAlias = Callable[[KeyPath, str], None]
"""Is told of an error: the path of its key, and the text."""

ALL: tuple[Kind, ...] = ("agent", "command", "service", "program")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key of a table.

    Args:
        form: the values that it accepts, as text.
        meaning: what it says, in a sentence.
        check: of its value; with ``each`` it is called for every value of a table whose keys are
            free.
        default: what holds without it.
        optional: ``false`` is accepted and means none.
        required: it must be there.
        kinds: what has it: agents, commands, services, programs.
        effect: how a reload applies a change.
        each: its value is a table with free keys; this is the check of such a key.
        fields: its value is a table with these keys.
        make: called with the values of ``fields``.
    """

    form: str
    meaning: str
    check: Check | None = None
    default: Any = None
    optional: bool = False
    required: bool = False
    kinds: tuple[Kind, ...] = ALL
    effect: Effect = "live"
    each: Callable[[str], str] | None = None
    fields: Mapping[str, Key] | None = None
    make: Callable[..., Any] | None = None


class Table(NamedTuple):
    """What a table may have.

    Args:
        keys: its keys.
        later: keys of a later version, each with what it is about.
        inner: keys that somebody else reads.
        kind: what the table describes; None: it is no agent.
    """

    keys: Mapping[str, Key]
    later: Mapping[str, str] = {}
    inner: tuple[str, ...] = ()
    kind: Kind | None = None


_WRONG = object()


def read(given: Any, table: Table, path: KeyPath, report: Report) -> dict[str, Any]:
    """The checked values of a table; keys with an error are missing.

    Args:
        given: what the file has.
        path: where it is.
        report: is told of every error.
    """
    if not isinstance(given, dict):
        report(path, f"must be a table, not {kind_of(given)}")
        return {}
    found = {}
    for name, value in given.items():
        key, where = table.keys.get(name), (*path, name)
        if name in table.inner:
            continue
        if key is None:
            report(where, _unknown(name, table))
        elif table.kind is not None and table.kind not in key.kinds:
            report(where, f"not for {plural(table.kind)}, but for {listed(key.kinds)}")
        else:
            found[name] = _value(key, where, value, report)
    for name, key in table.keys.items():
        if key.required and name not in given:
            report(path, f"{name} is missing")
    return {name: value for name, value in found.items() if value is not _WRONG}


def attempt(report: Report, path: KeyPath, check: Callable[..., Any], *given: Any) -> Any:
    """What ``check`` returns, or `None` after a report of its error."""
    value = _checked(report, path, check, *given)
    return None if value is _WRONG else value


def _checked(report: Report, path: KeyPath, check: Callable[..., Any], *given: Any) -> Any:
    try:
        return check(*given)
    except (TypeError, ValueError) as error:
        report(path, " ".join(str(error).split()))
        return _WRONG


def _value(key: Key, path: KeyPath, value: Any, report: Report) -> Any:
    if value is False and key.optional:
        return None
    if key.each is not None:
        return _free(key, path, value, report)
    if key.fields is not None:
        return _fields(key, path, value, report)
    assert key.check is not None
    return _checked(report, path, key.check, value, str(path[-1]))


def _free(key: Key, path: KeyPath, value: Any, report: Report) -> Any:
    if not isinstance(value, dict):
        report(path, f"must be a table of {key.form}, not {kind_of(value)}")
        return _WRONG
    assert key.each is not None
    assert key.check is not None
    found = {}
    for name, each in value.items():
        if _checked(report, (*path, name), key.each, name) is not _WRONG:
            found[name] = _checked(report, (*path, name), key.check, each, name)
    return {name: each for name, each in found.items() if each is not _WRONG}


def _fields(key: Key, path: KeyPath, value: Any, report: Report) -> Any:
    assert key.fields is not None
    assert key.make is not None
    wrong: list[KeyPath] = []

    def note(where: KeyPath, text: str) -> None:
        wrong.append(where)
        report(where, text)

    fields = read(value, Table(key.fields), path, note)
    return _WRONG if wrong else _checked(report, path, lambda: key.make and key.make(**fields))


def _unknown(name: str, table: Table) -> str:
    if name in table.later:
        return f"not there yet: this version has no {table.later[name]}; leave it out"
    known = [key for key, each in table.keys.items() if table.kind in (None, *each.kinds)]
    return f"unknown key{did_you_mean(name, [*known, *table.inner])}"


def plural(kind: Kind) -> str:
    """What several of a kind are called."""
    return _PLURALS[kind]


_PLURALS: dict[Kind, str] = {
    "agent": "agents with a factory",
    "command": "agents with a command",
    "service": "services with a function",
    "program": "services with a command",
}
_PAIRS: tuple[tuple[str, tuple[Kind, Kind]], ...] = (
    ("agents", ("agent", "command")),
    ("services", ("service", "program")),
)


def listed(kinds: tuple[Kind, ...]) -> str:
    """What the agents of some kinds are called."""
    words: list[str] = []
    for both, pair in _PAIRS:
        found = [kind for kind in pair if kind in kinds]
        words += [both] if len(found) == len(pair) else map(plural, found)
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
