"""Says when a batch ends before all items are done: by its halt policy, or by its budget."""

from __future__ import annotations

from typing import NamedTuple

from procorch.batch.errors import BatchHalted
from procorch.batch.options import BatchOptions
from procorch.messages import Cost, Usage
from procorch.supervision.budgets import ModelUse


class Halted(NamedTuple):
    """The batch is to end with ``error``; ``now``: without finishing what is under way."""

    error: BatchHalted
    now: bool


class HaltCheck:
    """Counts the outcomes of this run, and what all runs have used of models."""

    def __init__(self, options: BatchOptions) -> None:
        self._halt = options.halt
        self._budget = options.budget
        self._failed_and_ok = [0, 0]
        self._used = ModelUse()

    def outcome(self, ok: bool) -> Halted | None:
        """An item has succeeded or failed; whether the batch is to end."""
        self._failed_and_ok[ok] += 1
        failed, succeeded = self._failed_and_ok
        halt = self._halt
        if halt is None or not halt.reached(succeeded, failed):
            return None
        why = f"halted by {halt}: {failed} failed and {succeeded} succeeded in this run"
        return Halted(BatchHalted(why), halt.now)

    def spent(self, usage: Usage, cost: Cost) -> Halted | None:
        """An item has used so much of a model; whether the batch is to end."""
        if self._budget is None:
            return None
        self._used = self._used.plus(ModelUse(1, usage, cost))
        exceeded = self._budget.exceeded(self._used, "the batch", None)
        if exceeded is None:
            return None
        error = BatchHalted(f"halted: {exceeded}")
        error.__cause__ = exceeded
        return Halted(error, now=False)
