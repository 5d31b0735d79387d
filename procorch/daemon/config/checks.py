"""What values the keys of a configuration accept.

A check is called with the value and the name of its key. It returns the value as procorch keeps it,
or raises `TypeError` or `ValueError` with a text for the user. No text has a value that may be a
secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from procorch.agents.argv_template import ArgvTemplate
from procorch.daemon.specs import OWN_LOG
from procorch.errors.texts import did_you_mean
from procorch.units import seconds, size_in_bytes, whole

Check: TypeAlias = Callable[[Any, str], Any]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LONGEST_NAME = 100
"""Characters: log files have the names of agents, and a suffix."""
_KINDS = (
    (bool, "true or false"),
    (str, "text"),
    (int | float, "a number"),
    (dict, "a table"),
    (list, "an array"),
)


def kind_of(value: object) -> str:
    """What a value is in TOML: "text", "a number"."""
    return next((words for kind, words in _KINDS if isinstance(value, kind)), "a date or time")


def text(value: Any, name: str) -> str:
    """Text with at least one character."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {kind_of(value)}")
    if not value.strip() or "\0" in value:
        raise ValueError(f"{name} must not be empty, or have a NUL character")
    return value


def boolean(value: Any, name: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false, not {kind_of(value)}")
    return value


def number(value: Any, name: str) -> float:
    """Any number; the object that is made of it knows the range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {kind_of(value)}")
    return value


def word(*known: str) -> Check:
    """One of some words."""

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str) or value not in known:
            shown = f"{value!r}" if isinstance(value, str) else kind_of(value)
            hint = did_you_mean(str(value), known)
            raise ValueError(f"{name} must be {' or '.join(map(repr, known))}, not {shown}{hint}")
        return value

    return check


def count(least: int, most: int | None = None) -> Check:
    """A whole number."""

    def check(value: Any, name: str) -> int:
        found = whole(value, name, least=least)
        if most is not None and found > most:
            raise ValueError(f"{name} must be from {least} to {most}, not {found}")
        return found

    return check


def duration(value: Any, name: str) -> float:
    """Seconds, more than 0."""
    found = seconds(value, name)
    if found == 0:
        raise ValueError(f"{name} must be more than 0 s")
    return found


size: Check = size_in_bytes
"""Bytes, more than 0."""


def names(value: Any, name: str) -> tuple[str, ...]:
    """An array of text."""
    if not isinstance(value, list):
        raise TypeError(f"{name} must be an array of text, not {kind_of(value)}")
    return tuple(text(each, f"an element of {name}") for each in value)


def modules(value: Any, name: str) -> tuple[str, ...]:
    """An array of names of modules."""
    found = names(value, name)
    for each in found:
        if not _is_dotted(each):
            raise ValueError(f"{name}: {each!r} is not the name of a module, such as 'app.agents'")
    return found


def command(value: Any, name: str) -> tuple[str, ...]:
    """A command line; fields of a request are checked by `agent_tables`."""
    if isinstance(value, str):
        raise TypeError(
            f'{name} must be an array such as ["grep", "{{word}}"], not text: no shell splits it'
        )
    found = names(value, name) if value != [] else ()
    ArgvTemplate.parse(found)
    return found


def agent_name(value: Any, name: str = "name") -> str:
    """A name that files can have."""
    found = text(value, name)
    if not _NAME.fullmatch(found) or len(found) > _LONGEST_NAME:
        raise ValueError(
            f"{found!r} cannot be a name: use letters, digits, '_', '-' and '.', do not begin with "
            f"'-' or '.', and use at most {_LONGEST_NAME} characters"
        )
    if found == OWN_LOG:
        raise ValueError(f"{found!r} cannot be a name: the daemon's own log is called that")
    return found


def variable(value: Any, name: str) -> str:
    """The value of a variable. Its text is in no error: it may be a secret."""
    if not isinstance(value, str):
        raise TypeError(f'must be text, not {kind_of(value)}: write {name} = "..."')
    if "\0" in value:
        raise ValueError("must not have a NUL character")
    return value


def variable_name(name: str) -> str:
    """The name of a variable of an environment."""
    if not name or "=" in name or "\0" in name:
        raise ValueError(f"{name!r} cannot be the name of a variable")
    return name


def reference(value: Any, name: str) -> str:
    """Where a secret is read. Its text is in no error: it may be the secret itself."""
    form = '"file:PATH", "env:NAME" or "credential:NAME"'
    if not isinstance(value, str):
        raise TypeError(f"must be a reference, {form}, not {kind_of(value)}")
    scheme, _, rest = value.partition(":")
    if scheme not in ("file", "env", "credential") or not rest or "\0" in rest:
        raise ValueError(f"must be a reference, {form}; secrets themselves do not belong here")
    if scheme == "env":
        variable_name(rest)
    if scheme == "credential" and ("/" in rest or rest in (".", "..")):
        raise ValueError("a credential has a name, and no path")
    return value


def regular_expression(value: Any, name: str) -> str:
    """A regular expression of Python's."""
    found = text(value, name)
    try:
        re.compile(found)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{name}: {found!r} is not a regular expression: {error}") from None
    return found


def url(value: Any, name: str) -> str:
    """A URL that can be fetched."""
    found = text(value, name)
    if not re.fullmatch(r"https?://[^/\s]+\S*", found):
        raise ValueError(f"{name}: {found!r} is not a URL; write 'http://127.0.0.1:8000/health'")
    return found


def app(value: Any, name: str, folder: Path | None = None) -> str:
    """A factory or function by its name. It is never imported here.

    Args:
        folder: where a ``.py`` file must be; None: it is not looked for.
    """
    found = text(value, name)
    where, colon, function = found.rpartition(":")
    if not colon or not where or not _is_dotted(function):
        raise ValueError(
            f"{found!r} names no function: write 'package.module:name' or 'path/to/file.py:name'"
        )
    if not where.endswith(".py"):
        if "/" in where:
            raise ValueError(f"{where!r} is no module: write '{where}.py:{function}'")
        if not _is_dotted(where):
            raise ValueError(f"{where!r} is not the name of a module, such as 'app.agents'")
    elif folder is not None and not (folder / where).is_file():
        beside = [each.name for each in _python_files((folder / where).parent)]
        raise ValueError(
            f"there is no file {where!r} in {str(folder)!r}{did_you_mean(Path(where).name, beside)}"
        )
    return found


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _python_files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("*.py"))
    except OSError:
        return []
