"""The command line of a program, with fields of a request: ``["grep", "{word}", "{file}"]``.

``{name}`` is a field of the request, ``{}`` the whole request, and so is ``{line}`` where the
request has no fields. ``{{`` and ``}}`` are braces. A value that is text stands there as it is,
anything else as JSON. No shell sees the command line, so a value stays one argument (or a part of
it), whatever characters it has.
"""

from __future__ import annotations

import dataclasses
import json
import numbers
import os
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from procorch.errors import CommandFailed, UnknownField
from procorch.errors.redaction import HIDDEN, redact
from procorch.errors.texts import did_you_mean

_PART = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<lone>[{}])")
_SECRET = re.compile(r"key|token|secret|passw|credential|authorization", re.IGNORECASE)
_SPLIT = re.compile(r"""[\s'"\\]""")
_LONGEST = 2000
"""Characters of a command line in an error."""


@dataclass(frozen=True, slots=True)
class Field:
    """A place in an argument where a field of the request stands."""

    name: str


@dataclass(frozen=True, slots=True)
class ArgvTemplate:
    """A command line with fields; made by `parse`.

    Args:
        words: as they were written.
        arguments: the parts of each.
    """

    words: tuple[str, ...]
    arguments: tuple[tuple[str | Field, ...], ...]

    @classmethod
    def parse(cls, words: Sequence[str]) -> ArgvTemplate:
        """The template that is written so.

        Raises:
            TypeError: it is no list of texts.
            ValueError: it is empty, a brace has no other one, or the program itself is a field.
        """
        if isinstance(words, str):
            raise TypeError(
                f"a command is a list of arguments, not the text {words!r}: shlex.split() makes one"
            )
        given = tuple(words)
        for word in given:
            if not isinstance(word, str):
                raise TypeError(f"an argument of a command is text, not {type(word).__name__}")
        if not given or not given[0]:
            raise ValueError("a command names a program first")
        arguments = tuple(map(_parts, given))
        if any(isinstance(part, Field) for part in arguments[0]):
            raise ValueError(
                f"{given[0]!r}: the program itself must not come from a request; write it out, "
                "or give one that runs others, such as env or sh -c"
            )
        return cls(given, arguments)

    @property
    def program(self) -> str:
        """What the program is called."""
        return "".join(map(str, self.arguments[0]))

    def __str__(self) -> str:
        """The command line as a person writes it: only what a shell would split is in quotes."""
        return " ".join(shlex.quote(it) if not it or _SPLIT.search(it) else it for it in self.words)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, in their order; ``""`` is the whole request."""
        return tuple(
            dict.fromkeys(
                part.name for each in self.arguments for part in each if isinstance(part, Field)
            )
        )

    def fill(self, request: Any) -> list[str]:
        """The command line for a request.

        Raises:
            UnknownField: the request has no such field.
            CommandFailed: a value cannot be an argument.
        """
        return [
            "".join(
                _word(request, part.name) if isinstance(part, Field) else part for part in argument
            )
            for argument in self.arguments
        ]

    def shown(self, argv: Sequence[str]) -> str:
        """The command line as a shell would read it, for errors: values whose name says that they
        are secret, and what looks like a credential, are ``***``."""
        found, hide = [], False
        for word, parts in zip(argv, self.arguments, strict=True):
            option, equals, _ = word.partition("=")
            secret = bool(_SECRET.search(option))
            if hide or any(isinstance(part, Field) and _SECRET.search(part.name) for part in parts):
                found.append(HIDDEN)
            elif equals and secret:
                found.append(f"{shlex.quote(option)}={HIDDEN}")
            else:
                found.append(shlex.quote(word))
            hide = secret and not equals and word.startswith("-")
        text = redact(" ".join(found))
        return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "\u2026"


def _parts(word: str) -> tuple[str | Field, ...]:
    found: list[str | Field] = []
    end = 0
    for match in _PART.finditer(word):
        found.append(word[end : match.start()])
        end = match.end()
        if match["lone"]:
            other = "}" if match["lone"] == "{" else "{"
            raise ValueError(
                f"{word!r}: there is no {other!r} for this {match['lone']!r}; a brace is written "
                f"{match['lone'] * 2!r}, a field of the request {{name}}"
            )
        found.append(match["brace"][0] if match["brace"] else Field(match["field"]))
    found.append(word[end:])
    return tuple(part for part in found if part)


def fields_of(request: Any) -> Collection[str] | None:
    """The names of a request's fields; None: it has none, and is one value."""
    if isinstance(request, Mapping):
        return request.keys()
    if request is None or isinstance(request, str | bytes | numbers.Number | os.PathLike):
        return None
    if dataclasses.is_dataclass(request):
        return [field.name for field in dataclasses.fields(request)]
    for listed in ("_fields", "__struct_fields__"):  # a named tuple, a struct of msgspec
        names = getattr(request, listed, None)
        if isinstance(names, tuple):
            return names
    attributes = getattr(request, "__dict__", None)
    return None if attributes is None else [name for name in attributes if name[:1] != "_"]


def _word(request: Any, name: str) -> str:
    try:
        return _as_argument(_value(request, name))
    except (TypeError, ValueError, RecursionError) as error:
        which = f"field {name!r}" if name else "the request"
        raise CommandFailed(reason=f"{which} cannot be an argument: {error}") from None


def _value(request: Any, name: str) -> Any:
    names = fields_of(request)
    if names is not None and name in names:
        return request[name] if isinstance(request, Mapping) else getattr(request, name)
    if name == "" or (names is None and name == "line"):
        return request
    if names is None:
        hint = f"it is one value ({type(request).__name__}), which {{}} or {{line}} stands for"
    else:
        known = [str(each) for each in names]
        hint = f"it has {', '.join(known) or 'no fields'}{did_you_mean(name, known)}"
    raise UnknownField(f"there is no field {name!r} in the request: {hint}", field=name)


def _as_argument(value: Any) -> str:
    """Text as it is; anything else as JSON, numbers as Python writes them."""
    if isinstance(value, bytes | os.PathLike):
        value = os.fsdecode(value)
    elif isinstance(value, numbers.Real) and not isinstance(value, bool):
        value = str(value)
    elif not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if "\0" in value:
        raise ValueError("it has a NUL character")
    os.fsencode(value)  # the arguments of a program are bytes
    return str(value)
