"""Every key of a TOML text has a place, and its line has the key."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procorch.daemon.config.toml_places import KeyPath, places

ROOT = Path(__file__).parents[2]


def paths(value: Any, above: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """All key paths of what tomllib yields, with their values."""
    inside: Any = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    for key, each in inside:
        yield (*above, key), each
        yield from paths(each, (*above, key))


class Writer:
    """Writes TOML in all its forms. Leaves are numbers that occur once."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self._numbers = itertools.count(1000)

    def choose(self, *known: str) -> str:
        return self._data.draw(st.sampled_from(known))

    def key(self, key: str) -> str:
        forms = [json.dumps(key, ensure_ascii=False).replace("\x7f", "\\u007f")]
        if key and all(each.isascii() and (each.isalnum() or each in "-_") for each in key):
            forms.append(key)
        if "'" not in key and key.isprintable():
            forms.append(f"'{key}'")
        return self.choose(*forms)

    def document(self) -> str:
        lines: list[str] = []
        self.tables((), lines, 0)
        return self.choose("\n", "\n\n", "\n# [no] = 'key'\n", "\r\n").join(lines)

    def names(self) -> list[str]:
        text = st.text(st.characters(exclude_categories=("Cs",)), max_size=4)
        return self._data.draw(
            st.lists(st.one_of(st.sampled_from("abcd"), text), max_size=3, unique=True)
        )

    def tables(self, above: tuple[str, ...], lines: list[str], depth: int) -> None:
        """Pairs of one table, then its sub-tables."""
        names = self.names()
        simple = [name for name in names if self.choose("pair", "table") == "pair" or depth > 2]
        for name in simple:
            indent = self.choose("", "  ", "\t")
            comment = self.choose("", " # = [[x]]")
            pair = f"{self.key(name)} = {self.value(0)}"
            if self.choose("plain", "dotted") == "dotted":
                pair = f"{self.key(name)} . {self.key('q.')}={self.value(0)}"
            lines.append(indent + pair + comment)
        for name in names:
            if name in simple:
                continue
            path = (*above, self.key(name))
            if self.choose("one", "many") == "one":
                lines.append(f"[ {' . '.join(path)} ]")
                self.tables(path, lines, depth + 1)
            else:
                for _ in self.choose("1", "12"):
                    lines.append(f"[[{'.'.join(path)}]] # comment")
                    self.tables(path, lines, depth + 1)

    def value(self, depth: int) -> str:
        number = str(next(self._numbers))
        forms = ["number", "text", "literal", "lines", "raw lines", "date"]
        form = self.choose(*forms, *(() if depth > 2 else ("array", "inline")))
        if form == "array":
            gap = self.choose("", "\n", " # ], }\n  ")
            elements = [self.value(depth + 1) for _ in self.choose("", "1", "12")]
            comma = self.choose("", ",") if elements else ""
            return f"[{gap}{(',' + gap).join(elements)}{comma}{gap}]"
        if form == "inline":
            pairs = [f"{self.key(name)} = {self.value(depth + 3)}" for name in self.names()]
            return f"{{ {', '.join(pairs)} }}"
        return {
            "number": number,
            "text": f'"{number} \\" # [x]\\\\"',
            "literal": f"'{number} \" = \\'",
            "lines": f'"""{number}\nkey = 1 ""\\"\n[x]\n{self.choose("", chr(34), chr(34) * 2)}"""',
            "raw lines": f"'''{number}\n[[x]] '' \\\n'{self.choose('', chr(39))}'''",
            "date": f"1979-05-27 07:32:00.{number}",
        }[form]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_key_has_a_place_that_holds_it(data: st.DataObject) -> None:
    text = Writer(data).document()
    parsed = tomllib.loads(text)
    found, lines = places(text.replace("\r\n", "\n")), text.split("\n")
    assert set(found) == {path for path, _ in paths(parsed)}
    for path, value in paths(parsed):
        line, key = lines[found[path] - 1], path[-1]
        if isinstance(key, str):
            escaped = json.dumps(key, ensure_ascii=False)[1:-1].replace("\x7f", "\\u007f")
            assert key in line or escaped in line
        if isinstance(value, str):
            assert value[:4] in line


@pytest.mark.parametrize("name", ["pyproject.toml"])
def test_every_key_of_a_real_file_has_a_place(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    found, lines = places(text), text.splitlines()
    assert set(found) == {path for path, _ in paths(tomllib.loads(text))}
    for path in found:
        if isinstance(path[-1], str):
            assert path[-1] in lines[found[path] - 1]


def test_lines_of_all_forms() -> None:
    text = '''\
top = 1
[a.b]       # names a, too
x.y = """
[no]
"""
"q.r" = [ 1,
  { z = 2 },
]
[[list]]
[[list]]
[list.sub]
k = 'v'
[a]
'''
    assert places(text) == {
        ("top",): 1,
        ("a",): 13,
        ("a", "b"): 2,
        ("a", "b", "x"): 3,
        ("a", "b", "x", "y"): 3,
        ("a", "b", "q.r"): 6,
        ("a", "b", "q.r", 0): 6,
        ("a", "b", "q.r", 1): 7,
        ("a", "b", "q.r", 1, "z"): 7,
        ("list",): 9,
        ("list", 0): 9,
        ("list", 1): 10,
        ("list", 1, "sub"): 11,
        ("list", 1, "sub", "k"): 12,
    }


def test_an_empty_text_has_no_places() -> None:
    assert places("") == {}
    assert places("# only a comment") == {}
