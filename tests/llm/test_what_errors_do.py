"""What each error of a provider does to an agent under the default supervisor: a real client, a
real worker, a server that answers so. The table of docs/how-to/llm.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from procorch import (
    AgentError,
    AgentOptions,
    AgentOrchestrator,
    AgentStatus,
    AuthError,
    Backoff,
    ContentFiltered,
    ContextWindowOverflow,
    DefaultSupervisor,
    ModelRetired,
    ModelThrottled,
    NetworkError,
    StreamError,
)
from procorch.supervision.notices import Restarting
from tests.llm.server import Provider
from tests.process.conftest import PATIENCE

SOON = Backoff(initial=0)
RESTARTED, STOPPED = True, False


def client(url: str, **options: Any) -> Callable[[], AgentOptions]:
    """An agent with the library's own client, which tries again by itself if it may."""

    def factory() -> AgentOptions:
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        provider = OpenAIProvider(base_url=url, api_key="k")
        return AgentOptions(model=OpenAIChatModel("gpt-4o", provider=provider), **options)

    return factory


def test_an_agent_is_restarted_or_stopped_as_the_page_says(
    orchestrator: Callable[..., AgentOrchestrator], provider: Provider
) -> None:
    orch = orchestrator(supervisor=DefaultSupervisor(), preload=["pydantic_ai.models.openai"])
    table: dict[str, tuple[type[AgentError], bool]] = {
        "quota": (StreamError, STOPPED),
        "throttled": (ModelThrottled, RESTARTED),
        "overloaded": (ModelThrottled, RESTARTED),
        "500": (NetworkError, RESTARTED),
        "503": (NetworkError, RESTARTED),
        "context": (ContextWindowOverflow, STOPPED),
        "401": (AuthError, STOPPED),
        "403": (AuthError, STOPPED),
        "filter": (ContentFiltered, STOPPED),
        "model": (ModelRetired, STOPPED),
        "bad-request": (StreamError, STOPPED),
        "refused": (NetworkError, RESTARTED),
    }
    for scenario, (kind, restarted) in table.items():
        url = "http://127.0.0.1:9/v1" if scenario == "refused" else provider.url(scenario)
        factory = client(url, model_settings={"max_retries": 0})
        orch.add_agent(scenario, factory, backoff=SOON)
        agent = orch.spawn(scenario)
        events, before = orch.monitor(scenario), len(provider.requests)
        error = agent.submit("hi").exception(PATIENCE)
        assert type(error) is kind, scenario
        if scenario != "refused":
            assert len(provider.requests) == before + 1, "the library has tried again"
        if restarted:
            next(event for event in events if isinstance(event, Restarting))
            assert agent.status() is AgentStatus.RUNNING
            agent.cancel()
        else:
            agent.wait()
            assert agent.status() is AgentStatus.FAILED, scenario
