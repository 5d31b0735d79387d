"""Budgets for models, and what was used of them. Pure: the day is an argument.

A *payer* is whoever a call of a model is charged to: the agent itself, each agent above it, and the
request during which the call is made, with the requests that have led to it by questions (N16). A
call may begin as long as none of its payers has used up a budget. What it will cost is known when
it has ended, so a budget is exceeded by at most what is under way when it is used up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from procorch.errors import BudgetExceeded
from procorch.messages import Cost, Usage

_TOKENS = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kKM]?)\s*tokens?\s*$")
_DOLLARS = re.compile(r"^\s*\$?\s*(\d+(?:\.\d+)?)\s*(?:\$|USD|dollars?)?\s*$")
_TIMES = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000}


class Amount(NamedTuple):
    """An amount of one unit, "dollars" or "tokens"."""

    limit: float
    unit: str

    @classmethod
    def of(cls, value: float | str, what: str) -> Amount:
        """The amount that is written as a number of dollars, ``"$5"`` or ``"200k tokens"``.

        Raises:
            TypeError, ValueError: it is none; the text has ``what``.
        """
        limit, unit = value, "dollars"
        if isinstance(value, str):
            tokens, dollars = _TOKENS.match(value), _DOLLARS.match(value)
            if tokens is not None:
                limit, unit = float(tokens[1]) * _TIMES[tokens[2]], "tokens"
            elif dollars is not None:
                limit = float(dollars[1])
            else:
                raise ValueError(f"{what}: {value!r} is no budget; write 5, '$5' or '200k tokens'")
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            raise TypeError(f"{what} must be a number of dollars, or text such as '200k tokens'")
        if not 0 < limit < float("inf"):
            raise ValueError(f"{what} must be more than 0, not {value}")
        return cls(float(limit), unit)

    def exceeded(self, used: ModelUse, what: str, agent: str | None) -> BudgetExceeded | None:
        """The error of a budget of this amount that is used up; None: something is left."""
        spent = used.cost.total if self.unit == "dollars" else used.usage.total
        if spent < self.limit:
            return None
        return BudgetExceeded(
            agent=agent, budget=what, spent=float(spent), limit=self.limit, unit=self.unit
        )


class ModelUse(NamedTuple):
    """What was used of a model.

    Args:
        calls: how many calls there were.
        usage: their tokens.
        cost: what they have cost in US dollars; 0 where nobody knows the price.

    Example:
        >>> ModelUse(calls=1, usage=Usage(10, 5)).plus(ModelUse(calls=1)).calls
        2
    """

    calls: int = 0
    usage: Usage = Usage()
    cost: Cost = Cost()

    def plus(self, other: ModelUse) -> ModelUse:
        """Both together."""
        return ModelUse(self.calls + other.calls, self.usage + other.usage, self.cost + other.cost)


def total(used: Mapping[str, ModelUse]) -> ModelUse:
    """The use of all models together."""
    return _sum(used.values())


def _sum(uses: Iterable[ModelUse]) -> ModelUse:
    found = ModelUse()
    for use in uses:
        found = found.plus(use)
    return found


@dataclass(frozen=True, slots=True)
class Budget:
    """What an agent may use of models: US dollars as numbers, or text such as ``"200k tokens"``.

    Args:
        request: for each of its requests, the agents that it asks included.
        team: for it and all agents below it, since the orchestrator was made.
        day: for it and all agents below it on one day (UTC), likewise.

    Raises:
        TypeError, ValueError: an amount is of a wrong type or out of range.

    Example:
        >>> Budget(request=0.05, day="200k tokens")
        Budget(request=0.05, team=None, day='200k tokens')
    """

    request: float | str | None = None
    team: float | str | None = None
    day: float | str | None = None

    def __post_init__(self) -> None:
        for name in ("request", "team", "day"):
            self.amount(name)

    def amount(self, name: str) -> Amount | None:
        """One of the budgets; None: there is none."""
        value = getattr(self, name)
        return None if value is None else Amount.of(value, f"budget.{name}")


class Payer(NamedTuple):
    """An agent that a call is charged to; ``budget``: its own."""

    agent: str
    budget: Budget | None = None


class Charge(NamedTuple):
    """Who pays for a call.

    Args:
        agents: the agent that makes it, and those above it, nearest first.
        requests: the request during which it is made and those that have led to it, with their
            agents.
        day: number of the day.
    """

    agents: tuple[Payer, ...]
    requests: tuple[tuple[int, Payer], ...]
    day: int


class Accounts:
    """What agents and requests have used so far."""

    def __init__(self) -> None:
        self._models: dict[str, dict[str, ModelUse]] = {}
        self._days: dict[str, tuple[int, ModelUse]] = {}
        self.requests: dict[int, ModelUse] = {}
        self._all: dict[str, ModelUse] = {}

    def refusal(self, charge: Charge) -> BudgetExceeded | None:
        """The error of the first budget that is used up; None: the call may begin."""
        caller = charge.agents[0].agent
        for number, payer in charge.requests:
            amount = payer.budget and payer.budget.amount("request")
            if amount:
                used = self.requests.get(number, ModelUse())
                error = amount.exceeded(used, f"a request of agent {payer.agent!r}", caller)
                if error is not None:
                    return error
        for payer in charge.agents:
            for name, used in (
                ("team", total(self._models.get(payer.agent, {}))),
                ("day", self._today(payer.agent, charge.day)),
            ):
                amount = payer.budget and payer.budget.amount(name)
                what = f"the {name} of agent {payer.agent!r}"
                error = amount.exceeded(used, what, caller) if amount else None
                if error is not None:
                    return error
        return None

    def spend(self, charge: Charge, model: str, use: ModelUse) -> None:
        """A call has ended."""
        self._all[model] = self._all.get(model, ModelUse()).plus(use)
        for payer in charge.agents:
            models = self._models.setdefault(payer.agent, {})
            models[model] = models.get(model, ModelUse()).plus(use)
            today = self._today(payer.agent, charge.day)
            self._days[payer.agent] = charge.day, today.plus(use)
        for number, payer in charge.requests:
            if payer.budget is not None and payer.budget.request is not None:
                self.requests[number] = self.requests.get(number, ModelUse()).plus(use)

    def close(self, request: int) -> None:
        """A request has its outcome."""
        self.requests.pop(request, None)

    def used_by(self, agent: str | None) -> dict[str, ModelUse]:
        """What an agent and those below it have used, by model; None: all agents together."""
        return dict(self._all if agent is None else self._models.get(agent, {}))

    def _today(self, agent: str, day: int) -> ModelUse:
        when, used = self._days.get(agent, (day, ModelUse()))
        return used if when == day else ModelUse()
