"""Which measurements ``procorch bench`` compares, and what it says of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procorch.bench import Comparison, Measurement
from procorch.bench.limits import passed
from procorch.bench.precision import floor
from procorch.bench.suites import SuiteComparison
from procorch.cli import streams
from procorch.cli.bench_plan import read
from procorch.cli.exits import ExitCode, Misconfigured

if TYPE_CHECKING:
    from procorch.bench.limits import Limit


@dataclass
class Verdicts:
    """What is said of measurements beside their figures.

    Args:
        comparisons: in the order in which they are told.
        suite: they are all the pairs of these two; None: single ones.
        floor: the difference that this machine cannot tell, 0.03 for 3 %; None: nobody asked.
    """

    comparisons: Sequence[Comparison] = ()
    suite: SuiteComparison | None = None
    floor: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without the measurements."""
        found: dict[str, Any] = {}
        if self.suite is not None:
            found.update(self.suite.to_dict())
        elif self.comparisons:
            found["comparisons"] = [
                {"a": each.a.name, "b": each.b.name, **each.summary()} for each in self.comparisons
            ]
        if self.floor is not None:
            found["floor"] = self.floor
        return found

    def exit_code(self, limits: Sequence[Limit]) -> ExitCode:
        """Say which limits were passed."""
        beyond = [text for each in self.comparisons for text in passed(each, limits)]
        for text in beyond:
            streams.note(f"beyond the limit: {text}")
        return ExitCode.HALTED if beyond else ExitCode.DONE


def of_measured(measured: Sequence[Measurement], min_effect: float) -> Verdicts:
    """Each measurement beside the first one that has the same parameters."""
    firsts: dict[str, Measurement] = {}
    found = []
    for each in measured:
        params = repr(each.plan.params if each.plan else None)
        first = firsts.setdefault(params, each)
        if first is not each:
            found.append(Comparison(first, each, min_effect))
    return Verdicts(found)


def of_suites(
    before: Sequence[Measurement], after: Sequence[Measurement], min_effect: float
) -> Verdicts:
    """The measurements of the same name; or the only one of each side, whatever its name is.

    Raises:
        Misconfigured: there is nothing to compare.
    """
    if len(before) == len(after) == 1:
        return Verdicts([Comparison(before[0], after[0], min_effect)])
    try:
        suite = SuiteComparison(tuple(before), tuple(after), min_effect)
    except ValueError as error:
        raise Misconfigured(str(error)) from None
    return Verdicts(suite.comparisons, suite)


def take_floor(measured: list[Measurement]) -> float | None:
    """The floor of the machine, by the last measurement, which is of the first program again.

    Args:
        measured: loses its last member; the first gets its name back.

    Returns:
        None where there are too few runs that succeeded; a line says so.
    """
    again = measured.pop()
    measured[0] = replace(measured[0], name=measured[0].name.removesuffix(" (a)"))
    try:
        return floor(measured[0], again)
    except ValueError as error:
        streams.note(f"no floor: {error}")
        return None


def app_of(path: Path, other: str) -> str:
    """The APP to measure again in turn with ``other``, in place of the file that tells of it.

    Returns:
        Empty where that cannot be: the program is gone, or it is the other one, which has changed
        since.
    """
    measured = read(path)
    plan = measured[0].plan if len(measured) == 1 else None
    if plan is None or not plan.app or plan.params:
        return ""
    place = plan.app.rpartition(":")[0]
    if plan.app == other or not os.path.exists(place):
        return ""
    if os.path.exists(there := other.rpartition(":")[0]) and os.path.samefile(place, there):
        return ""
    return plan.app
