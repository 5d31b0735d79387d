"""The line of every key of a TOML text.

``tomllib`` parses, and knows no lines. `places` reads the same text once more and only looks where
keys and elements begin. It expects text that ``tomllib`` has accepted.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys from the top of the file; a number is a place in an array."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}\n#]+")
"""A number, a date, true or false; a space may be inside a date."""


def places(text: str) -> dict[KeyPath, int]:
    """The line of every table, key and array element.

    Args:
        text: TOML that ``tomllib.loads`` accepts.

    Returns:
        Lines, counted from 1. A table has the line of its own header, or else the line where it is
        named first.

    Raises:
        RecursionError: it is nested too deeply.
    """
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._ends = [each.start() for each in re.finditer("\n", text)]
        self._last: dict[KeyPath, int] = {}
        self.found: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip(_BLANK) < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
        return self.found

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        return self._at

    def _line(self) -> int:
        return bisect_left(self._ends, self._at) + 1

    def _header(self) -> KeyPath:
        line, repeated = self._line(), self._text.startswith("[[", self._at)
        self._at += 2 if repeated else 1
        *above, last = self._keys()
        self._at += 2 if repeated else 1
        path: KeyPath = ()
        for key in above:
            path = self._inside((*path, key))
            self._name(path, line)
        path = (*path, last)
        if repeated:
            self._name(path, line)
            self._last[path] = number = self._last.get(path, -1) + 1
            path = (*path, number)
        self.found[path] = line
        return path

    def _inside(self, path: KeyPath) -> KeyPath:
        """The table that a header means: of an array of tables it is the last one."""
        return (*path, self._last[path]) if path in self._last else path

    def _name(self, path: KeyPath, line: int) -> None:
        self.found.setdefault(path, line)

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        for key in self._keys():
            path = (*path, key)
            self._name(path, line)
        self._at += 1  # =
        self._skip(_SPACE)
        self._value(path)

    def _keys(self) -> list[str]:
        """A key with its dots, up to what follows it."""
        keys = []
        while True:
            self._skip(_SPACE)
            begin = self._at
            if self._text[begin] in "\"'":
                token = self._text[begin : self._skip(_STRING)]
                keys.append(str(tomllib.loads(f"key = {token}")["key"]))
            else:
                keys.append(self._text[begin : self._skip(_BARE_KEY)])
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        first = self._text[self._at]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._skip(_STRING if first in "\"'" else _PLAIN)

    def _array(self, path: KeyPath) -> None:
        number = 0
        self._at += 1
        while self._text[self._skip(_BLANK)] != "]":
            element = (*path, number)
            self._name(element, self._line())
            self._value(element)
            number += 1
            if self._text[self._skip(_BLANK)] == ",":
                self._at += 1
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._text[self._skip(_BLANK)] != "}":
            self._pair(path)
            if self._text[self._skip(_BLANK)] == ",":
                self._at += 1
        self._at += 1
