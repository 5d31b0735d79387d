"""Budgets for models: who pays, and when a call is refused."""

from __future__ import annotations

from typing import Any

import pytest

from procorch.errors import BudgetExceeded
from procorch.errors.plain_data import from_plain, to_plain
from procorch.messages import Cost, Usage
from procorch.supervision.budgets import Accounts, Amount, Budget, Charge, ModelUse, Payer

DOLLAR = ModelUse(1, Usage(input=900, output=100), Cost(output=1.0))


def charge(*agents: Payer, request: tuple[tuple[int, Payer], ...] = (), day: int = 0) -> Charge:
    return Charge(agents, request, day)


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        (5, (5.0, "dollars")),
        (0.25, (0.25, "dollars")),
        ("$5", (5.0, "dollars")),
        ("2.50 USD", (2.5, "dollars")),
        ("5 dollars", (5.0, "dollars")),
        ("7", (7.0, "dollars")),
        ("500 tokens", (500.0, "tokens")),
        ("200k tokens", (200_000.0, "tokens")),
        ("1.5M tokens", (1_500_000.0, "tokens")),
    ],
)
def test_amounts_are_read_as_people_write_them(written: Any, amount: tuple[float, str]) -> None:
    assert Amount.of(written, "budget") == amount


@pytest.mark.parametrize(
    ("written", "kind", "said"),
    [
        (0, ValueError, "budget.team must be more than 0"),
        (float("nan"), ValueError, "budget.team must be more than 0"),
        ("much", ValueError, "budget.team: 'much' is no budget"),
        ("5 euros", ValueError, "is no budget"),
        (True, TypeError, "budget.team must be a number"),
        ([5], TypeError, "budget.team must be a number"),
    ],
)
def test_what_is_no_amount_is_refused(written: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Budget(team=written)


def test_a_team_pays_for_all_below_it_and_another_does_not() -> None:
    accounts, planner = Accounts(), Payer("planner", Budget(team=2))
    below, beside = charge(Payer("critic"), planner), charge(Payer("other"))
    for _ in range(2):
        assert accounts.refusal(below) is None
        accounts.spend(below, "gpt", DOLLAR)
    error = accounts.refusal(below)
    assert isinstance(error, BudgetExceeded)
    assert (error.budget, error.spent, error.limit, error.unit) == (
        "the team of agent 'planner'", 2.0, 2.0, "dollars",
    )  # fmt: skip
    assert str(error) == (
        "agent 'critic': the budget of the team of agent 'planner' is used up: 2.0000 $ of 2.0000 $"
    )
    assert not error.is_retryable
    assert accounts.refusal(charge(planner)) is not None
    assert accounts.refusal(beside) is None
    assert str(from_plain(to_plain(error))) == str(error)


def test_a_request_pays_for_the_requests_that_it_leads_to() -> None:
    accounts, planner = Accounts(), Payer("planner", Budget(request="1500 tokens"))
    own = charge(planner, request=((1, planner),))
    asked = charge(Payer("critic"), request=((2, Payer("critic")), (1, planner)))
    accounts.spend(own, "gpt", DOLLAR)
    assert accounts.refusal(asked) is None
    accounts.spend(asked, "gpt", DOLLAR)
    for each in (own, asked):
        error = accounts.refusal(each)
        assert error is not None
        assert "a request of agent 'planner' is used up: 2000 of 1500 tokens" in str(error)
    assert accounts.refusal(charge(planner, request=((3, planner),))) is None
    accounts.close(1)
    assert accounts.refusal(own) is None


def test_a_day_ends() -> None:
    accounts, agent = Accounts(), Payer("a", Budget(day=1))
    accounts.spend(charge(agent, day=7), "gpt", DOLLAR)
    error = accounts.refusal(charge(agent, day=7))
    assert error is not None
    assert error.budget == "the day of agent 'a'"
    assert accounts.refusal(charge(agent, day=8)) is None
    accounts.spend(charge(agent, day=8), "gpt", DOLLAR)
    assert accounts.refusal(charge(agent, day=8)) is not None


def test_what_was_used_is_known_by_model_up_the_tree() -> None:
    accounts = Accounts()
    accounts.spend(charge(Payer("critic"), Payer("planner")), "small", DOLLAR)
    accounts.spend(charge(Payer("planner")), "large", DOLLAR)
    accounts.spend(charge(Payer("planner")), "large", DOLLAR)
    assert accounts.used_by("critic") == {"small": DOLLAR}
    assert accounts.used_by("planner") == {"small": DOLLAR, "large": DOLLAR.plus(DOLLAR)}
    assert accounts.used_by(None) == accounts.used_by("planner")
    assert accounts.used_by("nobody") == {}
