"""Values as exports give them: leaf by leaf, numbers as numbers, fields by name."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import pathlib
import threading
import uuid
from typing import Any

import msgspec
import numpy as np
import pytest

from procorch.agents.json_form import DEPTH, plain


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: Any


class Struct(msgspec.Struct):
    name: str
    seen: set[int]


class Ordinary:
    def __init__(self) -> None:
        self.shown = decimal.Decimal("1.10")
        self._hidden = 2


class Slotted:
    __slots__ = ("one", "unset")

    def __init__(self) -> None:
        self.one = 1


class Modelled:
    def model_dump(self) -> dict[str, Any]:
        return {"field": (1, 2)}


class Nasty:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


Pair = collections.namedtuple("Pair", "left right")
UTC = datetime.UTC

CASES = {
    "numpy float": (np.float64(0.5), 0.5),
    "numpy float32": (np.float32(0.5), 0.5),
    "numpy long double": (np.longdouble(0.5), 0.5),
    "numpy int": (np.int64(7), 7),
    "numpy bool": (np.bool_(True), True),
    "numpy text": (np.str_("a"), "a"),
    "numpy date": (np.datetime64("2026-01-02"), "2026-01-02"),
    "numpy complex": (np.complex128(1j), "1j"),
    "array": (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
    "array without dimensions": (np.array(3), 3),
    "array of floats": (np.array([1.5, np.nan, np.inf]), [1.5, None, None]),
    "array of long doubles": (np.array([0.5], dtype=np.longdouble), [0.5]),
    "array of objects": (np.array([1, "a", {2}], dtype=object), [1, "a", [2]]),
    "array of records": (np.array([(1, 2.5)], dtype=[("a", int), ("b", float)]),
                         [{"a": 1, "b": 2.5}]),
    "array of dates": (np.array(["2026-01-02"], dtype="datetime64[D]"), ["2026-01-02"]),
    "masked array": (np.ma.masked_array([1, 2], [False, True]), [1, None]),
    "nan": (float("nan"), None),
    "infinity": (-float("inf"), None),
    "big": (2**70, 2**70),
    "huge": (2**20000, hex(2**20000)),
    "path": (pathlib.Path("/x/y"), "/x/y"),
    "decimal": (decimal.Decimal("1.10"), "1.10"),
    "datetime": (datetime.datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
    "date": (datetime.date(2026, 1, 2), "2026-01-02"),
    "time": (datetime.time(1, 2), "01:02:00"),
    "duration": (datetime.timedelta(days=1, seconds=3), "P1DT3S"),
    "uuid": (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "fraction": (fractions.Fraction(1, 3), "1/3"),
    "complex": (1 + 2j, "(1+2j)"),
    "bytes": (b"\xff\x00", "/wA="),
    "tuple": ((1, (2,)), [1, [2]]),
    "set": ({3, 1, 2}, [1, 2, 3]),
    "set of several kinds": (frozenset({1, "a"}), ["a", 1]),
    "range": (range(3), [0, 1, 2]),
    "deque": (collections.deque([1]), [1]),
    "enum": (Colour.RED, "red"),
    "int enum": (Level.HIGH, 3),
    "named tuple": (Pair(1, Colour.RED), [1, "red"]),
    "dataclass": (Point(1, Point(2, {3})), {"x": 1, "y": {"x": 2, "y": [3]}}),
    "struct": (Struct("n", {1}), {"name": "n", "seen": [1]}),
    "object": (Ordinary(), {"shown": "1.10"}),
    "object with slots": (Slotted(), {"one": 1}),
    "model": (Modelled(), {"field": [1, 2]}),
    "exception": (ValueError("no"), {"type": "ValueError", "message": "no"}),
    "object without words": (Nasty(), f"<{__name__}.Nasty>"),
    "lone surrogate": ("a\ud800", "a\\ud800"),
    "keys": ({2: "a", None: "b", True: "c", (1, 2): "d", Colour.RED: "e", 1.5: "f"},
             {"2": "a", "true": "c", "null": "b", "[1,2]": "d", "red": "e", "1.5": "f"}),
    "keys that look alike": ({1: "a", "1": "b"}, [[1, "a"], ["1", "b"]]),
    "counter": (collections.Counter("aab"), {"a": 2, "b": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_value_becomes_what_json_can_say(name: str) -> None:
    value, expected = CASES[name]
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)
    json.dumps(found, allow_nan=False)
    assert plain({"around": [value], "n": 1}) == {"around": [expected], "n": 1}


def test_what_cannot_be_said_is_one_leaf_of_text() -> None:
    found = plain({"lock": threading.Lock(), "score": 1, "kind": int, "made": (n for n in "a")})
    assert found["score"] == 1
    assert "lock" in found["lock"]
    assert found["kind"] == "<class 'int'>"
    assert "generator" in found["made"]


def test_a_cycle_ends_and_what_is_there_twice_is_there_twice() -> None:
    shared = [1]
    value: dict[str, Any] = {"a": shared, "b": shared}
    value["self"] = value
    assert plain(value) == {"a": [1], "b": [1], "self": "<cycle>"}


def test_depth_is_bounded() -> None:
    value: Any = "bottom"
    for _ in range(100_000):
        value = [value]
    found = json.dumps(plain(value))
    assert found.count("[") == DEPTH
    assert "nested deeper" in found
