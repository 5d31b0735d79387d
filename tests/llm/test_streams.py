"""Answers that a provider streams: read while they come, and what becomes of one cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    AgentError,
    AgentOptions,
    AgentOrchestrator,
    ModelThrottled,
    NetworkError,
    Usage,
)
from procorch.agents.agent import as_agent
from procorch.agents.context import Context
from procorch.agents.current import install, uninstall
from procorch.agents.permits import CallEnd
from tests.llm.libraries import libraries
from tests.llm.server import Provider
from tests.process.conftest import PATIENCE

Service = Callable[[str], Callable[[], Any]]


def pydantic_ai(url: str) -> Callable[[], Any]:
    def factory() -> AgentOptions:
        import openai
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        client = openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0)
        return AgentOptions(
            model=OpenAIChatModel("gpt-4o", provider=OpenAIProvider(openai_client=client))
        )

    return factory


def openai_agents(url: str) -> Callable[[], Any]:
    def factory() -> Any:
        import agents
        import openai

        agents.set_tracing_disabled(True)
        client = openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0)
        model = agents.OpenAIChatCompletionsModel(model="gpt-4o", openai_client=client)
        return agents.Agent("a", model=model)

    return factory


@pytest.mark.parametrize(
    ("service", "preload"),
    [
        (pydantic_ai, ["pydantic_ai.models.openai"]),
        (openai_agents, ["agents", "openai"]),
    ],
)
def test_what_arrived_is_read_before_the_error_that_a_provider_ends_with(
    orchestrator: Callable[..., AgentOrchestrator],
    provider: Provider,
    service: Service,
    preload: list[str],
) -> None:
    orch = orchestrator(preload=preload)

    def read(scenario: str) -> tuple[list[str], AgentError | Usage]:
        orch.add_agent(scenario, service(provider.url(scenario)))
        answer, seen = orch.spawn(scenario).stream("hi", timeout=PATIENCE), list[str]()
        try:
            seen.extend(answer)
        except AgentError as error:
            return seen, error
        return seen, answer.result().usage

    assert read("ok") == (["one ", "two ", "three"], Usage(input=11, output=7))
    seen, error = read("cut")  # the connection was lost in mid-stream
    assert (seen, type(error)) == (["one ", "two "], NetworkError)
    seen, error = read("throttled-late")  # with an error in place of the next piece
    assert (seen, type(error)) == (["one ", "two "], ModelThrottled)


class Reader:
    """The services of a worker whose answer is read while it comes."""

    async def begin_call_async(self, *about: Any) -> int:
        return 0

    def end_call(self, *about: Any) -> CallEnd:
        return CallEnd()

    async def emit_async(self, agent: str, request: int, text: str) -> None:
        """The piece is read."""


@libraries
@pytest.mark.parametrize("scenario", ["thinking", "writing-a-call"])
def test_each_event_of_a_stream_is_progress(
    provider: Provider, library: Any, scenario: str
) -> None:
    """A model that thinks for long, or writes a long call, is not hung."""

    def write(text: str) -> str:
        """Write."""
        return text

    signs: list[None] = []
    services: Any = Reader()
    context = Context("a", on_progress=lambda: signs.append(None), services=services)
    install(context)
    context.begin(1, streaming=True)
    try:
        agent = as_agent(library(provider.url(scenario), tools=[write])())

        async def main() -> Any:
            return await agent.respond("hi")

        assert asyncio.run(main()).text.endswith("three")
    finally:
        uninstall()
    assert len(signs) >= 9
