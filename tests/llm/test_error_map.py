"""The error map, against the exceptions that the libraries really raise."""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import openai
import pytest
from openai import _base_client
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
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

httpx: Any = getattr(_base_client, "httpx2", None) or _base_client.httpx

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


NOW = datetime.now(UTC)
HEADERS: dict[str, tuple[dict[str, str], float | None, float | None]] = {
    "seconds": ({"retry-after": "20"}, 20, 20),
    "seconds with a unit": ({"Retry-After": "20s"}, 20, 20),
    "minutes": ({"retry-after": "1m30s"}, 90, 90),
    "a date": ({"retry-after": format_datetime(NOW + timedelta(hours=1), True)}, 3000, 3600),
    "a date that is over": ({"retry-after": format_datetime(NOW - timedelta(1), True)}, 0, 0),
    "milliseconds": ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5, 1.5),
    "milliseconds that are none": ({"retry-after-ms": "soon", "retry-after": "4"}, 4, 4),
    "less than nothing": ({"retry-after": "-5"}, None, None),
    "no number": ({"retry-after": "nan"}, None, None),
    "a limit of openai": (
        {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"},
        360,
        360,
    ),
    "the longer of two limits": (
        {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "120ms",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "7.5s",
        },
        7.5,
        7.5,
    ),
    "a limit that is not used up": (
        {"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "6m0s"},
        None,
        None,
    ),
    "a limit of anthropic": (
        {
            "anthropic-ratelimit-input-tokens-remaining": "0",
            "anthropic-ratelimit-input-tokens-reset": (NOW + timedelta(hours=1)).isoformat(),
        },
        3000,
        3600,
    ),
    "a moment in milliseconds": (
        {
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": str(int((NOW.timestamp() + 3600) * 1000)),
        },
        3000,
        3600,
    ),
    "a moment in seconds": (
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW.timestamp() + 3600))},
        3000,
        3600,
    ),
    "a number of seconds": ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "12"}, 12, 12),
    "nothing": ({}, None, None),
}


def throttled(headers: dict[str, str], text: str = "Rate limit", body: Any = None) -> Any:
    request = httpx.Request("POST", "http://localhost")
    response = httpx.Response(429, headers=headers, request=request)
    return openai.RateLimitError(text, response=response, body=body)


@pytest.mark.parametrize("form", HEADERS)
def test_how_long_to_wait_is_read_from_headers_of_all_forms(form: str) -> None:
    headers, least, most = HEADERS[form]
    found = service_error(throttled(headers))
    assert found is not None
    if least is None or most is None:
        assert found.retry_after is None
    else:
        assert found.retry_after is not None
        assert least <= found.retry_after <= most


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Rate limit reached for gpt-4o. Please try again in 1.5s. Visit us.", 1.5),
        ("No deployments available, Try again in 60 seconds.", 60),
        ("Please try again in 6m0s.", 360),
        ("Please retry after 20 seconds.", 20),
        ("Please retry in 34.07s.", 34.07),
        ("{'retryDelay': '34s'}", 34),
        ("retry_after: 2.5", 2.5),
        ("Try it with 20 s of silence", None),
    ],
)
def test_how_long_to_wait_is_read_from_the_text(text: str, seconds: float | None) -> None:
    found = service_error(throttled({}, text))
    assert found is not None
    assert found.retry_after == seconds
    said = service_error(throttled({"retry-after": "7"}, text))
    assert said is not None
    assert said.retry_after == 7, "what is said outright counts first"


def test_how_long_to_wait_is_read_from_the_body_of_google() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]
    message = "You exceeded your current quota. Please retry in 34.07s."
    body = {"error": {"code": 429, "message": message, "details": details}}
    for error in (
        ModelHTTPError(429, "gemini", body),
        ModelHTTPError(429, "gemini", [body]),
        throttled({}, body={"retry_delay": {"seconds": 34}}),
    ):
        found = service_error(error)
        assert type(found) is ModelThrottled, "a limit per minute is called a quota, too"
        assert found.retry_after == 34


def test_an_error_that_no_wait_would_mend_asks_for_none() -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}
    response = httpx.Response(400, headers=headers, request=httpx.Request("POST", "http://x"))
    filtered = openai.BadRequestError("no", response=response, body={"code": "content_filter"})
    found = service_error(filtered)
    assert type(found) is ContentFiltered
    assert found.retry_after is None


def test_an_answer_that_the_filter_took_away_is_content_filtered(provider: Provider) -> None:
    found, original = failure(by_pydantic_ai, provider.url("filtered-answer"))
    assert type(found) is ContentFiltered, repr(original)


def test_the_meaning_travels_where_the_original_does_not_load(provider: Provider) -> None:
    found, original = failure(by_openai, provider.url("throttled"))
    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(original))
    twin = pickle.loads(pickle.dumps(found))
    assert (type(twin), twin.retry_after, str(twin)) == (ModelThrottled, 1.0, str(found))
