"""The error map on exceptions shaped like those of the libraries; tests/llm has the real ones."""

from __future__ import annotations

import email.utils
import json
import subprocess
import sys
import time
from typing import Any

import pytest

from procorch import (
    AgentError,
    AuthError,
    ContentFiltered,
    ContextWindowOverflow,
    ModelRetired,
    ModelThrottled,
    NetworkError,
    StreamError,
    StructuredOutputFailed,
)
from procorch.agents.adapters.error_map import service_error


def raised(
    name: str, text: str = "", module: str = "openai", base: type = Exception, **attributes: Any
) -> BaseException:
    """An exception as a library of that name would raise it."""
    cls = type(name, (base,), {"__module__": module})
    error = cls(text)
    vars(error).update(attributes)
    assert isinstance(error, BaseException)
    return error


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def meaning(error: BaseException) -> type[AgentError] | None:
    found = service_error(error)
    return None if found is None else type(found)


class Response:
    def __init__(self, status: int, **headers: str) -> None:
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (raised("RateLimitError", module="anthropic"), ModelThrottled),
        (raised("RateLimitError", module="litellm.exceptions"), ModelThrottled),
        (raised("OverloadedError", module="anthropic._exceptions"), ModelThrottled),
        (raised("BudgetExceededError", module="litellm"), StreamError),
        (raised("Timeout", module="litellm.exceptions"), NetworkError),
        (raised("ContextWindowExceededError", module="litellm.exceptions"), ContextWindowOverflow),
        (raised("ContentPolicyViolationError", module="litellm"), ContentFiltered),
        (raised("ModelRefusalError", module="agents.exceptions"), ContentFiltered),
        (raised("MaxTurnsExceeded", module="agents.exceptions"), StreamError),
        (raised("UsageLimitExceeded", module="pydantic_ai.exceptions"), StreamError),
        (
            raised(
                "UnexpectedModelBehavior",
                "Exceeded maximum output retries (1)",
                "pydantic_ai.exceptions",
            ),
            StructuredOutputFailed,
        ),
    ],
    ids=lambda it: getattr(type(it), "__name__", ""),
)
def test_the_class_tells(error: BaseException, kind: type[AgentError]) -> None:
    assert meaning(error) is kind


@pytest.mark.parametrize(
    "error",
    [
        raised("APIResponseValidationError", "not as expected"),
        raised("ModelAPIError", "Failed to decode response as JSON: line 1", "pydantic_ai"),
        raised("UnexpectedModelBehavior", "Invalid response from openai", "pydantic_ai"),
        raised("ModelBehaviorError", "response has no choices", "agents.exceptions"),
    ],
)
def test_an_answer_that_cannot_be_read_is_a_passing_error(error: BaseException) -> None:
    found = service_error(error)
    assert type(found) is StreamError
    assert found.is_retryable


def test_an_exception_of_a_tool_is_not_taken_for_an_answer_that_cannot_be_read() -> None:
    def tool() -> None:
        json.loads("<html>")

    with pytest.raises(json.JSONDecodeError) as caught:
        tool()
    assert service_error(caught.value) is None


def test_the_name_of_a_base_class_tells_as_well() -> None:
    base = type(raised("RateLimitError"))
    assert meaning(raised("TokensPerMinute", module="openai", base=base)) is ModelThrottled


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, StreamError),
        (401, AuthError),
        (402, StreamError),
        (403, AuthError),
        (404, ModelRetired),
        (408, NetworkError),
        (410, ModelRetired),
        (422, StreamError),
        (429, ModelThrottled),
        (500, NetworkError),
        (504, NetworkError),
        (529, ModelThrottled),
    ],
)
def test_the_status_tells_wherever_it_is_kept(status: int, kind: type[AgentError]) -> None:
    assert meaning(raised("SDKError", status_code=status)) is kind
    assert meaning(raised("SDKError", response=Response(status))) is kind
    assert meaning(raised("APIError", module="google.genai.errors", code=status)) is kind


def test_the_code_of_the_provider_comes_before_the_class() -> None:
    quota = {"code": "insufficient_quota"}
    assert meaning(raised("RateLimitError", body=quota)) is StreamError
    assert meaning(raised("RateLimitError", body={"error": quota})) is StreamError
    too_long = raised("NotFoundError", code="context_length_exceeded")
    assert meaning(too_long) is ContextWindowOverflow


def test_quota_is_believed_from_the_text_only_where_no_wait_is_named() -> None:
    text = "You exceeded your current quota, please check your plan and billing details"
    assert meaning(raised("ClientError", text, "google.genai", code=429)) is StreamError
    waits = raised("ClientError", text, "google.genai", code=429, retry_after=30)
    assert meaning(waits) is ModelThrottled


def test_the_status_comes_before_the_text() -> None:
    text = "Rate limit: reduce the length of the messages or try later"
    assert meaning(raised("SDKError", text, status_code=429)) is ModelThrottled
    assert meaning(raised("SDKError", text, status_code=400)) is ContextWindowOverflow


def test_what_caused_it_tells_where_the_exception_does_not() -> None:
    cause = raised("RateLimitError", retry_after=4)
    outer = caused(raised("AgentGenerationError", "no answer", "smolagents.utils"), cause)
    found = service_error(caused(RuntimeError("the step failed"), outer))
    assert isinstance(found, ModelThrottled)
    assert found.retry_after == 4.0
    assert "RuntimeError: the step failed" in str(found)


def test_of_several_models_that_failed_the_last_one_counts() -> None:
    group = ExceptionGroup("all models", [ValueError("a"), raised("RateLimitError")])
    assert meaning(group) is ModelThrottled


@pytest.mark.parametrize(
    "response",
    [
        Response(429, retry_after="7"),
        Response(429, retry_after_ms="7000"),
        Response(503, retry_after="7"),
    ],
)
def test_the_wait_is_read_from_the_headers(response: Response) -> None:
    found = service_error(raised("APIStatusError", response=response))
    assert found is not None
    assert found.retry_after == 7.0


def test_the_wait_may_be_a_date() -> None:
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    found = service_error(raised("APIStatusError", response=Response(429, retry_after=date)))
    assert found is not None
    assert found.retry_after is not None
    assert 50 < found.retry_after <= 60


@pytest.mark.parametrize("said", ["soon", "-1", "nan", "inf", ""])
def test_a_wait_that_is_none_is_none(said: str) -> None:
    found = service_error(raised("APIStatusError", response=Response(429, retry_after=said)))
    assert found is not None
    assert found.retry_after is None


def test_a_lost_connection_of_an_http_client_is_a_network_error() -> None:
    assert meaning(raised("ConnectError", module="httpx")) is NetworkError
    assert meaning(raised("ReadTimeout", module="requests.exceptions")) is NetworkError


@pytest.mark.parametrize(
    "error",
    [
        ValueError("context length exceeded"),
        ConnectionError("gone"),
        TimeoutError("late"),
        raised("HTTPStatusError", module="httpx", response=Response(404)),
        raised("RateLimitError", module="mine"),
        raised("RateLimitError", module="openai_tools_of_mine"),
        StreamError("ours"),
    ],
    ids=lambda it: f"{type(it).__module__}.{type(it).__name__}",
)
def test_what_is_not_about_a_models_service_means_nothing_here(error: BaseException) -> None:
    assert service_error(error) is None


def test_an_exception_that_cannot_be_read_still_has_a_meaning() -> None:
    def broken(self: object) -> str:
        raise RuntimeError("no")

    base = type("Rude", (Exception,), {"__str__": broken, "response": property(broken)})
    found = service_error(raised("RateLimitError", base=base))
    assert isinstance(found, ModelThrottled)
    assert found.retry_after is None


def test_the_map_imports_no_sdk() -> None:
    code = (
        "import sys, procorch.agents.adapters.error_map\n"
        "print({'openai', 'pydantic_ai', 'agents', 'httpx', 'httpx2'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
