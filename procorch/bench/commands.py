"""Programs that are measured, each named by its command line."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from procorch.agents.argv_template import ArgvTemplate
from procorch.agents.command import find_program
from procorch.bench.cases import Case, NotMeasurable, serialise
from procorch.bench.sweep import Values, fill_in, read_value, word_of
from procorch.errors import CommandFailed, UnknownField


def of_command(template: ArgvTemplate, requests: Sequence[str], parameters: Values) -> list[Case]:
    """A case for each combination of parameters.

    Args:
        requests: see `sweep.combine`; their fields stand in the command line beside the parameters.

    Raises:
        NotMeasurable: the program is not installed, or a field is known to nobody.
    """
    try:
        path = find_program(template.program)
    except FileNotFoundError as error:
        raise NotMeasurable(str(error)) from None
    name = str(template)
    _refuse_unused(name, template, requests, parameters)
    cases = []
    for values in itertools.product(*parameters.values()):
        chosen = dict(zip(parameters, values, strict=True))
        lines = [
            (path, *_filled(name, template, _fields(text, chosen)))
            for text in (requests or (None,))
        ]
        words = (f"{key}={word_of(value)}" for key, value in chosen.items())
        cases.append(
            Case(
                " ".join((name, *words)), requests=tuple(map(serialise, lines)), given=True,
                sweep=chosen, kind="function", program=True,
            )
        )  # fmt: skip
    return cases


def _fields(text: str | None, chosen: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the fields of a command line stand for: parameters, and what the request has."""
    if text is None:
        return chosen
    request = read_value(fill_in(text, chosen))
    if isinstance(request, dict):
        return {**chosen, "": request, **request}
    return {**chosen, "": request, "line": request}


def _filled(name: str, template: ArgvTemplate, fields: Mapping[str, Any]) -> list[str]:
    if "" in template.fields and "" not in fields:
        raise NotMeasurable(f"{name}: {{}} stands for a request: give one (-r VALUE)")
    try:
        return template.fill(fields)
    except UnknownField as error:
        raise NotMeasurable(
            f"{name}: nothing says what {{{error.field}}} is: give a parameter "
            f"(-P {error.field}=VALUE), or a request that has it (-r)"
        ) from None
    except CommandFailed as error:
        raise NotMeasurable(f"{name}: {error.what}") from None


def _refuse_unused(
    name: str, template: ArgvTemplate, requests: Sequence[str], parameters: Values
) -> None:
    for each in parameters:
        if each not in template.fields and not any(f"{{{each}}}" in text for text in requests):
            raise NotMeasurable(
                f"{name}: the parameter {each!r} is used nowhere: write {{{each}}} into the command"
            )
