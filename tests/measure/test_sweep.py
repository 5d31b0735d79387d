"""Sweeps: which combinations there are, and what of them is drawn."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pytest

from procorch.bench import Measurement, NotMeasurable, Run, plot
from procorch.bench.cases import distinct
from procorch.bench.records import Plan
from procorch.bench.sweep import combine, read_parameters


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (["n=10,100"], {"n": [10, 100]}),
        (["n=[10, 100]"], {"n": [10, 100]}),
        (["n=1.5", "kind=small, large"], {"n": [1.5], "kind": ["small", "large"]}),
        (["flag=true,false,null"], {"flag": [True, False, None]}),
        (['point={"x": 1}'], {"point": [{"x": 1}]}),
    ],
)
def test_values_are_json_or_text(given: list[str], values: dict[str, list[Any]]) -> None:
    assert read_parameters(given) == values


@pytest.mark.parametrize("given", [["n"], ["n="], ["=1"], ["a b=1"], ["n=[]"], ["n=1", "n=2"]])
def test_what_is_no_parameter_is_refused(given: list[str]) -> None:
    with pytest.raises(NotMeasurable):
        read_parameters(given)


def names(found: Sequence[Any]) -> list[str]:
    return [case.name for case in found]


def test_each_combination_is_a_case_of_its_own_name() -> None:
    cases = combine(["a.py:f", "a.py:g"], [], {"n": [1, 2], "k": ["x"]}, [])
    assert names(cases) == ["a.py:f n=1 k=x", "a.py:f n=2 k=x", "a.py:g n=1 k=x", "a.py:g n=2 k=x"]
    assert cases[1].params == {"n": 2, "k": "x"}
    assert names(distinct(combine(["a:f", "a:f", "b:f"], [], {}, []))) == [
        "a:f (a)",
        "a:f (b)",
        "b:f",
    ]
    pythons = distinct(combine(["a:f"], [], {}, [sys.executable, sys.executable]))
    assert names(pythons) == [f"a:f ({sys.executable}) (a)", f"a:f ({sys.executable}) (b)"]


def test_a_parameter_in_a_request_is_not_one_of_the_program() -> None:
    (case,) = combine(["a:f"], ['{"size": {n}}'], {"n": [7], "k": [1]}, [])
    assert (case.params, case.sweep) == ({"k": 1}, {"n": 7, "k": 1})
    assert case.digest != combine(["a:f"], ['{"size": {n}}'], {"n": [8], "k": [1]}, [])[0].digest


def measured(name: str, n: Any, wall: float) -> Measurement:
    plan = Plan(params={} if n is None else {"n": n})
    return Measurement(name, (Run(wall, wall, 0.0, 1, 0),), 1, True, plan=plan)


def test_the_lines_of_a_picture_are_the_programs() -> None:
    found = [measured(f"{app} n={n}", n, n * 0.1) for app in ("f", "g") for n in (1, 2)]
    axis, lines = plot.series(found)
    assert axis == "n"
    assert {label: [point[:2] for point in points] for label, points in lines.items()} == {
        "f": [(1, 0.1), (2, 0.2)],
        "g": [(1, 0.1), (2, 0.2)],
    }
    with pytest.raises(NotMeasurable, match="there is no sweep to draw"):
        plot.series([measured("f", None, 0.1)])
