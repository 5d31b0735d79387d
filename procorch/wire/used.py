"""Sends the tokens and dollars that a failed request has used, together with its error.

They are eight numbers in the plain data of the error, beside its figures.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from procorch.errors import AgentError
from procorch.errors.plain_data import from_plain, to_plain
from procorch.messages import Cost, Usage

_KEY = "used"


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
