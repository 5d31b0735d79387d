"""What became of one item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from procorch.errors import AgentError
from procorch.messages import AgentResult


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item.

    Args:
        index: position of the item in the input, from 0.
        ok: whether it succeeded.
        output: what the agent returned; None where it failed.
        error: why it failed; None where it succeeded.
        result: the whole result with its metrics; None where it failed. An item that was sent with
            others (``chunksize``) has no metrics of its own.
    """

    index: int
    ok: bool
    output: Any = None
    error: AgentError | None = None
    result: AgentResult | None = None
