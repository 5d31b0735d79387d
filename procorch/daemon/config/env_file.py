"""Environment files: ``NAME=value`` lines.

``export`` before the name, blank lines and comments (``#`` at the beginning of a line, or after
space) are allowed. A value in single quotes stands for itself, and one in double quotes has the
escapes of ``_ESCAPES``; both may go over several lines. Nothing is expanded. No error has a value.
"""

from __future__ import annotations

import re

_BLANK = re.compile(r"(?:\s+|#[^\n]*)*")
_NAME = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE = re.compile(r"(?:(?!\s#)[^\n])*")
_END = re.compile(r"[ \t\r]*(?:[ \t]#[^\n]*)?(?:\n|\Z)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$", "`": "`"}


def parse(text: str) -> dict[str, str]:
    """The variables of an environment file; of a name that is there twice, the last one.

    Raises:
        ValueError: a line is not of that form; the text has the number of the line.
    """
    found: dict[str, str] = {}
    at = _end(_BLANK, text, 0)
    while at < len(text):
        name = _NAME.match(text, at)
        if name is None:
            raise ValueError(f"{_line(text, at)} is not NAME=value")
        found[name[1]], end = _value(text, name.end())
        if "\0" in found[name[1]]:
            raise ValueError(f"{_line(text, at)}: the value of {name[1]} has a NUL character")
        at = _end(_BLANK, text, end)
    return found


def _value(text: str, at: int) -> tuple[str, int]:
    """The value that begins at ``at``, and where it ends."""
    quote = text[at : at + 1]
    if quote not in ("'", '"') or not quote:
        bare = _BARE.match(text, at)
        assert bare is not None
        return ("" if quote == "#" else bare[0].strip()), _end_of_line(text, at)
    match = (_SINGLE if quote == "'" else _DOUBLE).match(text, at)
    if match is None:
        raise ValueError(f"{_line(text, at)}: its quote {quote} is never closed")
    if _END.match(text, match.end()) is None:
        raise ValueError(f"{_line(text, match.end())}: something follows the closing quote")
    value = match[1] if quote == "'" else _ESCAPE.sub(_unescaped, match[1])
    return value, _end_of_line(text, match.end())


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[1], match[0])


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _line(text: str, at: int) -> str:
    return f"line {text.count(chr(10), 0, at) + 1}"
