"""The error map, against the exceptions that the libraries really raise."""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import Callable
from typing import Any

import openai
import pytest
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from procorch import (
    AgentError,
    AuthError,
    ContentFiltered,
    ContextWindowOverflow,
    ModelRetired,
    ModelThrottled,
    NetworkError,
    StreamError,
)
from procorch.agents.adapters.error_map import service_error
from tests.llm.server import Provider

CASES: dict[str, tuple[type[AgentError], float | None]] = {
    "throttled": (ModelThrottled, 1.0),
    "throttled-ms": (ModelThrottled, 1.5),
    "overloaded": (ModelThrottled, None),
    "quota": (StreamError, None),
    "quota-in-words": (StreamError, None),
    "401": (AuthError, None),
    "403": (AuthError, None),
    "500": (NetworkError, None),
    "503": (NetworkError, 3.0),
    "context": (ContextWindowOverflow, None),
    "context-in-words": (ContextWindowOverflow, None),
    "filter": (ContentFiltered, None),
    "model": (ModelRetired, None),
    "bad-request": (StreamError, None),
}


def client(url: str, timeout: float = 5.0) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0, timeout=timeout)


async def by_openai(url: str, timeout: float = 5.0) -> Any:
    async with client(url, timeout) as service:
        messages: Any = [{"role": "user", "content": "hi"}]
        return await service.chat.completions.create(model="x", messages=messages)


async def by_pydantic_ai(url: str, timeout: float = 5.0) -> Any:
    async with client(url, timeout) as service:
        model = OpenAIChatModel("x", provider=OpenAIProvider(openai_client=service))
        return await Agent(model).run("hi")


async def by_openai_agents(url: str, timeout: float = 5.0) -> Any:
    import agents

    async with client(url, timeout) as service:
        model = agents.OpenAIChatCompletionsModel(model="x", openai_client=service)
        config = agents.RunConfig(tracing_disabled=True)
        return await agents.Runner.run(agents.Agent("a", model=model), "hi", run_config=config)


ways = pytest.mark.parametrize("way", [by_openai, by_pydantic_ai, by_openai_agents])
Way = Callable[..., Any]


def failure(way: Way, url: str, **settings: Any) -> tuple[AgentError, BaseException]:
    try:
        answer = asyncio.run(way(url, **settings))
    except Exception as raised:
        error = raised
    else:
        pytest.fail(f"no error, but {answer!r}")
    found = service_error(error, agent="writer")
    assert found is not None, repr(error)
    return found, error


@ways
@pytest.mark.parametrize("scenario", CASES)
def test_what_a_provider_answers_has_one_meaning(
    provider: Provider, way: Way, scenario: str
) -> None:
    found, original = failure(way, provider.url(scenario))
    kind, wait = CASES[scenario]
    assert (type(found), found.retry_after) == (kind, wait), repr(original)
    assert found.is_retryable is (kind in (ModelThrottled, NetworkError))
    assert found.__cause__ is original
    assert type(original).__name__ in str(found)
    assert str(found).startswith("agent 'writer': ")


@ways
def test_a_refused_connection_is_a_network_error(way: Way) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found, original = failure(way, f"http://127.0.0.1:{port}/v1")
    assert type(found) is NetworkError, repr(original)


@ways
def test_a_provider_that_does_not_answer_in_time_is_a_network_error(
    provider: Provider, way: Way
) -> None:
    found, original = failure(way, provider.url("silent"), timeout=0.1)
    assert type(found) is NetworkError, repr(original)


def test_an_answer_that_the_filter_took_away_is_content_filtered(provider: Provider) -> None:
    found, original = failure(by_pydantic_ai, provider.url("filtered-answer"))
    assert type(found) is ContentFiltered, repr(original)


def test_the_meaning_travels_where_the_original_does_not_load(provider: Provider) -> None:
    found, original = failure(by_openai, provider.url("throttled"))
    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(original))
    twin = pickle.loads(pickle.dumps(found))
    assert (type(twin), twin.retry_after, str(twin)) == (ModelThrottled, 1.0, str(found))
