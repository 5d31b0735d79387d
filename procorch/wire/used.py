"""Sends the tokens and dollars that a request has used, beside its answer or its error.

They are eight numbers: the four of a `Usage` and the four of a `Cost`. With an error they are in
its plain data, beside its figures.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeAlias

from procorch.errors import AgentError
from procorch.errors.plain_data import from_plain, to_plain
from procorch.messages import AgentResult, AssistantMessage, Cost, Usage

_KEY = "used"
_MOST = 2**63
_NOTHING, _FREE = Usage(), Cost()
_WITH_USAGE = (AgentResult, AssistantMessage)

Numbers: TypeAlias = list[int | float]


def numbers(usage: object, cost: object) -> Numbers | None:
    """Usage and cost as numbers; None: nothing was used, or these are no numbers."""
    if not (isinstance(usage, Usage) and isinstance(cost, Cost)):
        return None
    if usage == _NOTHING and cost == _FREE:
        return None
    try:
        tokens = [int(getattr(usage, name)) for name in Usage.__match_args__]
        dollars = [float(getattr(cost, name)) for name in Cost.__match_args__]
    except (TypeError, ValueError, OverflowError):
        return None
    return [*tokens, *dollars] if all(-_MOST <= each < _MOST for each in tokens) else None


def of_output(output: object) -> Numbers | None:
    """What an answer says that it has used; None: nothing."""
    if isinstance(output, _WITH_USAGE):
        return numbers(output.usage, output.cost)
    return None


class Tally:
    """Adds up what the answers of a chunk have used.

    Attributes:
        total: the sum; None: nothing.
    """

    def __init__(self) -> None:
        self.total: Numbers | None = None

    def add(self, output: object) -> None:
        """Add what one answer has used."""
        more = of_output(output)
        if more is not None:
            before = self.total or [0] * len(more)
            self.total = [old + new for old, new in zip(before, more, strict=True)]


def sums(answered: Numbers | None, error: AgentError | None) -> tuple[Usage | None, Cost | None]:
    """Usage and cost of a request: those that came with its answer, and those of its error."""
    usage = None if error is None or not isinstance(error.usage, Usage) else error.usage
    cost = None if error is None or not isinstance(error.cost, Cost) else error.cost
    if answered is not None and len(answered) == 8:
        usage = Usage(*map(int, answered[:4])) + (usage or Usage())
        cost = Cost(*map(float, answered[4:])) + (cost or Cost())
    return usage, cost


def put(plain: dict[str, Any], usage: Usage, cost: Cost) -> None:
    """Add usage and cost to an error as plain data (`to_plain`)."""
    tokens = [usage.input, usage.output, usage.cache_read, usage.cache_write]
    plain[_KEY] = [*tokens, cost.input, cost.output, cost.cache_read, cost.cache_write]


def with_error(error: AgentError) -> dict[str, Any]:
    """`to_plain`, with the usage and cost of the error."""
    plain = to_plain(error)
    if isinstance(error.usage, Usage) and isinstance(error.cost, Cost):
        put(plain, error.usage, error.cost)
    return plain


def error_with(plain: dict[str, Any]) -> AgentError:
    """`from_plain`, which also sets `AgentError.usage` and `AgentError.cost`."""
    error = from_plain(plain)
    figures = plain.get(_KEY)
    if isinstance(figures, list) and len(figures) == 8:
        with suppress(TypeError, ValueError, OverflowError):  # no numbers
            note(error, Usage(*map(int, figures[:4])), Cost(*map(float, figures[4:])))
    return error


def note(error: BaseException, usage: Usage, cost: Cost) -> None:
    """Set usage and cost of an `AgentError`; other errors are replaced by one later."""
    if isinstance(error, AgentError):
        with suppress(AttributeError, TypeError):  # a class of the user's may refuse attributes
            object.__setattr__(error, "usage", usage)
            object.__setattr__(error, "cost", cost)
