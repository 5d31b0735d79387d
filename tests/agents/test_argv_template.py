"""Command lines with fields of a request."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from procorch import CommandFailed, UnknownField, command
from procorch.agents.argv_template import ArgvTemplate
from procorch.agents.result_files import file_name


def filled(words: list[str], request: Any) -> list[str]:
    return ArgvTemplate.parse(words).fill(request)


@dataclass
class Row:
    id: int
    name: str

    def shout(self) -> str:
        return self.name.upper()


class Struct(msgspec.Struct):
    id: int
    name: str


Pair = namedtuple("Pair", "id name")  # one without types is what is tried
REQUESTS = (
    {"id": 7, "name": "a b"},
    Row(7, "a b"),
    Struct(7, "a b"),
    Pair(7, "a b"),
    SimpleNamespace(id=7, name="a b"),
)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda each: type(each).__name__)
def test_fields_of_any_object_stand_in_the_arguments(request_: Any) -> None:
    assert filled(["p", "--id={id}", "{name}", "{id}{id}"], request_) == [
        "p",
        "--id=7",
        "a b",
        "77",
    ]


@pytest.mark.parametrize(
    ("value", "argument"),
    [
        ("a 'b' $c; `d` *", "a 'b' $c; `d` *"),
        ("", ""),
        ("{name}", "{name}"),
        (3, "3"),
        (0.1, "0.1"),
        (float("nan"), "nan"),
        (True, "true"),
        (None, "null"),
        ([1, "é"], '[1,"é"]'),
        ({"a": None}, '{"a":null}'),
        (Path("/tmp/x"), "/tmp/x"),
        (b"raw", "raw"),
    ],
)
def test_text_stands_as_it_is_and_anything_else_as_json(value: Any, argument: str) -> None:
    assert filled(["p", "{x}"], {"x": value}) == ["p", argument]


def test_a_request_that_is_one_value_is_line_and_the_empty_field() -> None:
    assert filled(["p", "{}", "{line}", "{{}}"], "one line") == ["p", "one line", "one line", "{}"]
    assert filled(["p", "{}"], {"a": 1}) == ["p", '{"a":1}']
    assert filled(["p", "{line}"], {"line": "its field"}) == ["p", "its field"]


def test_a_column_may_have_any_name() -> None:
    assert filled(["p", "{first name}", "{a.b}"], {"first name": "x", "a.b": "y"}) == [
        "p",
        "x",
        "y",
    ]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (
            {"id": 1, "file": "x"},
            "there is no field 'fil' in the request: it has id, file; did you",
        ),
        ("text", "it is one value (str), which {} or {line} stands for"),
        ({}, "it has no fields"),
        (Row(1, "x"), "it has id, name"),
    ],
)
def test_an_unknown_field_is_named_with_the_nearest_one(request_: Any, said: str) -> None:
    with pytest.raises(UnknownField) as caught:
        filled(["p", "{fil}"], request_)
    assert caught.value.field == "fil"
    assert said in str(caught.value)


def test_methods_and_private_attributes_are_no_fields() -> None:
    for name in ("shout", "__class__", "_x"):
        with pytest.raises(UnknownField):
            filled(["p", f"{{{name}}}"], Row(1, "x"))
    with pytest.raises(UnknownField):
        filled(["p", "{upper}"], "text")


@pytest.mark.parametrize("value", ["a\0b", "\ud800", object(), {1, 2}])
def test_what_cannot_be_an_argument_is_refused_by_its_field(value: Any) -> None:
    with pytest.raises(CommandFailed, match="field 'x' cannot be an argument") as caught:
        filled(["p", "{x}"], {"x": value})
    assert caught.value.code is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "names a program"),
        ([""], "names a program"),
        (["{prog}", "x"], "must not come from a request"),
        (["p", "{a"], "no '}' for this '{'"),
        (["p", "a}"], "no '{' for this '}'"),
        (["awk", "{print $1}{"], "'{{'"),
    ],
)
def test_a_command_line_that_means_nothing_is_refused_when_it_is_written(
    words: list[str], said: str
) -> None:
    with pytest.raises(ValueError, match="(?s)" + said.replace("{", r"\{")):
        command(words)


def test_wrong_arguments_are_refused_with_what_they_may_be() -> None:
    with pytest.raises(TypeError, match=r"shlex\.split"):
        command("ls -l")
    with pytest.raises(TypeError, match="not int"):
        command(["p", 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="did you mean 'json'"):
        command(["p"], output="jsn")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="'text', 'json' or None"):
        command(["p"], input="bytes")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="unknown encoding"):
        command(["p"], encoding="klingon")
    with pytest.raises(ValueError, match="unknown error handler"):
        command(["p"], errors="ignore_them")
    with pytest.raises(ValueError, match="grace"):
        command(["p"], grace=-1)


def test_a_command_line_in_an_error_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", "abcdefgh12345")
    words = ["curl", "--api-key", "k1", "--token=k2", "-H", "{secret}", "abcdefgh12345", "a b"]
    template = ArgvTemplate.parse(words)
    shown = template.shown(template.fill({"secret": "k3"}))
    assert shown == "curl --api-key *** --token=*** -H *** *** 'a b'"


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ("q1", "q1"),
        ("a/b", "a%2Fb"),
        ("../x", "%2E.%2Fx"),
        ("-rf", "%2Drf"),
        ("", "%"),
        ("100%", "100%25"),
        ("größe", "größe"),
        ("a\nb\0", "a%0Ab%00"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_files_of_an_item_have_safe_names(item: str, name: str) -> None:
    assert file_name(item) == name


def test_long_names_are_cut_and_stay_different() -> None:
    names = {file_name("ü" * 200 + end) for end in ("a", "b", "c")}
    assert len(names) == 3
    assert all(len(name.encode()) <= 200 for name in names)
