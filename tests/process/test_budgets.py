"""Budgets for models, with real workers: a request, a team, a day, a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    AgentOptions,
    AgentOrchestrator,
    AgentResult,
    BatchHalted,
    Budget,
    BudgetExceeded,
    Cost,
    ModelUse,
    OrchestratedHandle,
    ServiceSupervisor,
    ToolCallBlock,
    Usage,
    current,
    run_batch,
)
from tests.process.conftest import PATIENCE

Make = Callable[..., AgentOrchestrator]
PRICE = Usage(input=90, output=10), Cost(output=0.5)


def talking(model: str, *, asks: str | None = None, turns: int = 1) -> Callable[[], AgentOptions]:
    """An agent whose request takes so many turns of 100 tokens and half a dollar each, and asks
    another agent in all but the last."""

    def factory() -> AgentOptions:
        from procorch import AssistantMessage

        def look() -> str:
            """Look."""
            return "seen" if asks is None else current().ask(asks, "What do you think?").text

        def turn(context: Any) -> AssistantMessage:
            said = sum(isinstance(each, AssistantMessage) for each in context.messages)
            last = said == turns - 1
            content: Any = "done" if last else ToolCallBlock(f"{said}", "look", {})
            return AssistantMessage(content, model=model, usage=PRICE[0], cost=PRICE[1])

        return AgentOptions(stream_fn=turn, tools=[look], keep_history=False)

    return factory


def team(orch: AgentOrchestrator, budget: Budget | None) -> dict[str, OrchestratedHandle]:
    orch.add_agent("planner", talking("large", asks="critic", turns=3), budget=budget)
    orch.add_child("critic", "planner", talking("small"))
    return orch.spawn_tree("planner")


def used(calls: int) -> ModelUse:
    return ModelUse(calls, Usage(90 * calls, 10 * calls), Cost(output=0.5 * calls))


def test_usage_is_known_by_model_up_the_tree(orchestrator: Make) -> None:
    orch = orchestrator(supervisor=ServiceSupervisor())
    handles = team(orch, None)
    result = handles["planner"].send_message("Plan", timeout=PATIENCE)
    assert result.usage.total == 500
    assert handles["critic"].info().usage == {"small": used(2)}
    assert handles["planner"].info().usage == {"large": used(3), "small": used(2)}
    assert orch.usage() == {"large": used(3), "small": used(2)}
    assert orch.usage("critic") == {"small": used(2)}


def test_a_request_stops_where_its_budget_is_used_up(orchestrator: Make) -> None:
    orch = orchestrator(supervisor=ServiceSupervisor())
    planner = team(orch, Budget(request=1.5))["planner"]
    for done in (3, 6):  # two turns and one of the critic each, and the next request begins anew
        with pytest.raises(BudgetExceeded) as caught:
            planner.send_message("Plan", timeout=PATIENCE)
        assert caught.value.budget == "a request of agent 'planner'"
        assert (caught.value.spent, caught.value.limit) == (1.5, 1.5)
        assert caught.value.cost is not None
        assert caught.value.cost.total == 1.5
        assert sum(use.calls for use in orch.usage().values()) == done
    assert planner.info().generation == 1


def test_a_team_stops_where_its_budget_is_used_up(orchestrator: Make) -> None:
    orch = orchestrator(supervisor=ServiceSupervisor())
    handles = team(orch, Budget(team="400 tokens", day="1M tokens"))
    for _ in range(4):
        handles["critic"].send_message("Well?", timeout=PATIENCE)
    for handle in handles.values():
        with pytest.raises(BudgetExceeded, match="the team of agent 'planner' is used up: 400 of"):
            handle.send_message("Go on", timeout=PATIENCE)
    assert orch.usage() == {"small": used(4)}


def test_a_handler_says_what_it_has_used(orchestrator: Make) -> None:
    def factory() -> Any:
        def handle(request: Any) -> AgentResult:
            with current().limit("provider") as permit:
                permit.used(Usage(output=300), Cost(output=2.0), "mine")
            return AgentResult(output="done")

        return handle

    orch = orchestrator(supervisor=ServiceSupervisor())
    orch.limit("provider", concurrent=1)
    orch.add_agent("a", factory, budget=Budget(day=3))
    agent = orch.spawn("a")
    for _ in range(2):
        assert agent.deliver(1).result(PATIENCE).output == "done"
    with pytest.raises(BudgetExceeded, match="the day of agent 'a'"):
        agent.deliver(1).result(PATIENCE)
    assert orch.usage() == {"mine": ModelUse(2, Usage(output=600), Cost(output=4.0))}


def test_a_batch_ends_where_its_budget_is_used_up_and_goes_on_with_another(tmp_path: Path) -> None:
    def run(budget: float | str, **more: Any) -> Any:
        return run_batch(
            talking("small"), map(str, range(40)), out=tmp_path / "run.db", workers=1,
            budget=budget, **more,
        )  # fmt: skip

    done = []
    with run(2.0) as batch:
        while not batch.over:
            done += batch.step(PATIENCE)
    halted = batch.failure
    assert isinstance(halted, BatchHalted)
    assert "the batch is used up" in str(halted)
    assert isinstance(halted.__cause__, BudgetExceeded)
    assert halted.__cause__.limit == 2.0
    assert 4 <= len(done) <= 5  # what was under way is finished
    assert all(item.ok for item in done)
    summary = batch.progress()
    assert summary.ended == "halted"
    assert summary.models["small"].calls == len(done)
    with run("100k tokens", resume=True) as batch:
        assert batch.summary().ok == 40
