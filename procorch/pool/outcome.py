"""What became of one item of a pool: a success or a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias

from procorch.errors import AgentError
from procorch.messages import AgentResult, Out


@dataclass(frozen=True, slots=True)
class Success(Generic[Out]):
    """An item that succeeded.

    Args:
        index: position of the item in the input, from 0.
        ok: True.
        output: what the agent returned.
        error: None.
        result: the whole result with its metrics. An item that was sent with others
            (``chunksize``) has no metrics of its own.
    """

    index: int
    ok: Literal[True]
    output: Out
    error: None
    result: AgentResult[Out]


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that failed.

    Args:
        index: position of the item in the input, from 0.
        ok: False.
        output: None.
        error: why it failed.
        result: None.
    """

    index: int
    ok: Literal[False]
    output: None
    error: AgentError
    result: None


if TYPE_CHECKING:
    Outcome: TypeAlias = Success[Out] | Failure
else:
    Outcome = Success | Failure
"""What became of an item; ``if outcome.ok`` tells a type checker which of the two it is."""
