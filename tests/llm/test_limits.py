"""N23: a shared limit around the calls of models, through both adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    AgentOptions,
    AgentOrchestrator,
    AgentPool,
    Budget,
    BudgetExceeded,
    Limit,
    ModelThrottled,
    NetworkError,
    ServiceSupervisor,
    StreamReply,
    run_batch,
)
from tests.llm.server import Provider
from tests.process.conftest import PATIENCE

Make = Callable[..., AgentOrchestrator]


def pydantic(url: str, **options: Any) -> Callable[[], AgentOptions]:
    def factory() -> AgentOptions:
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        model = OpenAIChatModel("gpt-4o", provider=OpenAIProvider(base_url=url, api_key="k"))
        return AgentOptions(model=model, keep_history=False, **options)

    return factory


def openai(url: str, **options: Any) -> Callable[[], AgentOptions]:
    def factory() -> AgentOptions:
        import agents
        from agents import OpenAIChatCompletionsModel
        from openai import AsyncOpenAI

        agents.set_tracing_disabled(True)
        client = AsyncOpenAI(base_url=url, api_key="k")
        model = OpenAIChatCompletionsModel("gpt-4o", client)
        return AgentOptions(model=model, keep_history=False, **options)

    return factory


ADAPTERS = pytest.mark.parametrize("adapter", [pydantic, openai])


@ADAPTERS
def test_a_refused_call_waits_for_the_pause_and_is_made_once_more(
    orchestrator: Make, provider: Provider, adapter: Any
) -> None:
    orch = orchestrator(supervisor=ServiceSupervisor())
    orch.limit("openai", concurrent=4)
    orch.add_agent("a", adapter(provider.url("throttled-once")))
    agent = orch.spawn("a")
    assert agent.send_message("hi", timeout=PATIENCE).text == "fine"
    first, second = provider.times
    assert second - first >= 1.0
    assert orch.limits()["openai"].under_way == 0


@ADAPTERS
def test_the_client_does_not_try_again_beside_the_limit(
    orchestrator: Make, provider: Provider, adapter: Any
) -> None:
    orch = orchestrator(supervisor=ServiceSupervisor())
    orch.limit("openai", retries=1, longest=0.01)
    orch.add_agent("a", adapter(provider.url("throttled")))
    with pytest.raises(ModelThrottled):
        orch.spawn("a").send_message("hi", timeout=PATIENCE)
    assert len(provider.requests) == 2
    orch.add_agent("b", adapter(provider.url("500")), client_retries=False)
    with pytest.raises(NetworkError):
        orch.spawn("b").send_message("hi", timeout=PATIENCE)
    assert len(provider.requests) == 3


@ADAPTERS
def test_the_calls_of_another_provider_are_not_counted(
    orchestrator: Make, provider: Provider, adapter: Any
) -> None:
    orch = orchestrator()
    orch.limit("anthropic", per_minute=0.001)
    orch.add_agent("a", adapter(provider.url("ok")))
    agent = orch.spawn("a")
    for _ in range(2):
        assert agent.send_message("hi", timeout=PATIENCE).text == "fine"


@ADAPTERS
def test_a_stream_holds_a_permit_until_it_ends(
    orchestrator: Make, provider: Provider, adapter: Any
) -> None:
    orch = orchestrator(supervisor=ServiceSupervisor())
    orch.limit("openai", concurrent=1)
    orch.add_agent("a", adapter(provider.url("ok")))
    agent = orch.spawn("a")
    for _ in range(2):
        reply: StreamReply = agent.stream("hi", timeout=PATIENCE)
        assert "".join(reply) == "one two three"
        assert reply.result().usage.output == 7
    assert orch.limits()["openai"].under_way == 0


@ADAPTERS
def test_a_stream_that_was_heard_is_not_begun_again(
    orchestrator: Make, provider: Provider, adapter: Any
) -> None:
    orch = orchestrator(supervisor=ServiceSupervisor())
    orch.limit("openai", concurrent=1)
    orch.add_agent("a", adapter(provider.url("throttled-late")))
    reply = orch.spawn("a").stream("hi", timeout=PATIENCE)
    assert [next(reply), next(reply)] == ["one ", "two "]
    with pytest.raises(ModelThrottled):
        next(reply)
    assert len(provider.requests) == 1
    assert orch.limits()["openai"].under_way == 0


def test_prompts_of_a_pool_and_a_batch_at_a_limited_provider_cost_hardly_a_call_more(
    provider: Provider,
) -> None:
    shared, agent = Limit("openai", per_minute=20 * 60), pydantic(provider.url("20-a-second"))
    with (
        AgentPool(agent, 2, limit=shared) as pool,
        run_batch(agent, map(str, range(40)), out=None, workers=2, shared_limit=shared) as batch,
    ):
        replies = [pool.submit([str(number)]) for number in range(40)]
        assert [item.ok for item in batch] == [True] * 40
        assert [reply.result(PATIENCE).text for reply in replies] == ["fine"] * 40
    assert len(provider.requests) <= 84


@ADAPTERS
def test_a_budget_ends_the_request_that_uses_it_up(
    orchestrator: Make, provider: Provider, adapter: Any
) -> None:
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    orch = orchestrator(supervisor=ServiceSupervisor())
    options = adapter(provider.url("call"), tools=[add])
    orch.add_agent("a", options, budget=Budget(request="50 tokens"))
    with pytest.raises(BudgetExceeded, match="54 of 50 tokens"):
        orch.spawn("a").send_message("hi", timeout=PATIENCE)
    assert len(provider.requests) == 3
    ((model, used),) = orch.usage().items()
    assert model.startswith("gpt-4o")
    assert (used.calls, used.usage.total) == (3, 54)
    assert (used.cost.total > 0) is (adapter is pydantic)


@ADAPTERS
def test_a_stream_is_paid_for(orchestrator: Make, provider: Provider, adapter: Any) -> None:
    orch = orchestrator(supervisor=ServiceSupervisor())
    orch.add_agent("a", adapter(provider.url("ok")))
    reply = orch.spawn("a").stream("hi", timeout=PATIENCE)
    assert reply.result().text == "one two three"
    ((model, used),) = orch.usage().items()
    assert model.startswith("gpt-4o")
    assert (used.calls, used.usage.total) == (1, 18)
