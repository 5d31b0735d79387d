"""The combinations of programs, interpreters and values of parameters that are measured."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from procorch.bench.cases import Case, NotMeasurable, interpreter, serialise

Values = dict[str, list[Any]]


def read_parameters(given: Sequence[str]) -> Values:
    """The values of each parameter, from ``"n=10,100"`` or ``"n=[10, 100]"``.

    Raises:
        NotMeasurable: one is written otherwise, or is there twice.
    """
    found: Values = {}
    for text in given:
        name, equals, listed = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier() or not listed.strip():
            raise NotMeasurable(f"{text!r}: write a parameter as NAME=VALUE,VALUE")
        if name in found:
            raise NotMeasurable(f"the parameter {name!r} is there twice: write {name}=VALUE,VALUE")
        values = read_value(listed)
        if not isinstance(values, list):
            values = [read_value(each.strip()) for each in listed.split(",")]
        if not values:
            raise NotMeasurable(f"{text!r}: the parameter has no values")
        found[name] = values
    return found


def read_value(text: str) -> Any:
    """A value as JSON; what is no JSON is text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def combine(
    apps: Sequence[str],
    requests: Sequence[str],
    parameters: Values,
    pythons: Sequence[str],
    kind: str = "",
) -> list[Case]:
    """A case for each combination.

    Args:
        requests: as texts of JSON or plain text, in which ``{NAME}`` is the value of a parameter;
            none: the program is called without.

    Raises:
        NotMeasurable: an interpreter cannot be used.
    """
    found = {named: interpreter(named) for named in pythons}
    cases = []
    for app, python in itertools.product(apps, pythons or [""]):
        for values in itertools.product(*parameters.values()):
            chosen = dict(zip(parameters, values, strict=True))
            free = {
                name: value
                for name, value in chosen.items()
                if not any(f"{{{name}}}" in text for text in requests)
            }
            sent = [read_value(fill_in(text, chosen)) for text in requests] or [None]
            words = [app, *(f"{name}={word_of(value)}" for name, value in chosen.items())]
            if len(pythons) > 1:
                words.append(f"({python})")
            case = Case(
                " ".join(words),
                app=app,
                requests=tuple(map(serialise, sent)),
                given=bool(requests),
                params=free,
                sweep=chosen,
                python=found.get(python, ""),
                kind=kind,
            )
            cases.append(case)
    return cases


def fill_in(text: str, chosen: Mapping[str, Any]) -> str:
    """A request with the values of parameters in it."""
    for name, value in chosen.items():
        text = text.replace(f"{{{name}}}", word_of(value))
    return text


def word_of(value: Any) -> str:
    """A value of a parameter as it was written."""
    return value if isinstance(value, str) else json.dumps(value)
