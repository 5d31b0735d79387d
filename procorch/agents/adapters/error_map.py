"""What an error of a model's service means for supervision: foreign exceptions as errors of ours.

No SDK is imported. What is known about an exception is read from the outside: the machine-readable
codes of the provider, the names of its class and their bases, the HTTP status, the text. In this
order (docs/how-to/llm.md), for the exception first and then for what caused it:

====================================================  =======================  =========
what                                                  error                    retryable
====================================================  =======================  =========
quota or credit exhausted (a 429 too, so it is first)  `StreamError`            no
rate limit, overload; 429, 529                        `ModelThrottled`         yes
no connection, timeout; 408, 5xx                      `NetworkError`           yes
conversation too long                                 `ContextWindowOverflow`  no
401, 403                                              `AuthError`              no
content filter                                        `ContentFiltered`        no
unknown or gone model; 404, 410                       `ModelRetired`           no
no valid structured output                            `StructuredOutputFailed`  no
an answer that cannot be read (`malformed`)            `StreamError`            yes
any other with an HTTP status                         `StreamError`            no
====================================================  =======================  =========

Only exceptions of the libraries in `LIBRARIES` are looked at, and those of HTTP clients where they
tell of a lost connection: a 404 from a page that an agent's tool has fetched is no retired model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from procorch.agents.adapters.attributes import attribute, first
from procorch.agents.adapters.malformed import is_malformed
from procorch.errors import (
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
from procorch.errors.base import describe_failure
from procorch.errors.copying import DEPTH
from procorch.errors.texts import original, qualified_name, text_of

_Kind = type[AgentError]

LIBRARIES = (
    "agents.exceptions",
    "anthropic",
    "cohere",
    "google.genai",
    "groq",
    "litellm",
    "mistralai",
    "openai",
    "pydantic_ai",
    "smolagents",
    "together",
)
"""Modules whose exceptions are about a model's service."""

_CLIENTS = ("aiohttp", "httpcore", "httpcore2", "httpx", "httpx2", "requests", "urllib3")


def _table(rows: Mapping[_Kind, str]) -> dict[str, _Kind]:
    return {word: kind for kind, words in rows.items() for word in words.split()}


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_QUOTA = _set(
    "billing_error billing_hard_limit_reached budget_exceeded credit_balance_exhausted "
    "exceeded_current_quota_error insufficient_quota organization_spend_limit_exceeded "
    "organization_usage_limit_exceeded project_spend_limit_exceeded"
)
_QUOTA_NAMES = frozenset({"BudgetExceededError", "ModelQuotaExceededError"})
_QUOTA_TEXT = re.compile(
    r"exceeded your current quota|insufficient (balance|credits?|quota)|credit balance is too low",
    re.IGNORECASE,
)

_BY_CODE = _table(
    {
        ModelThrottled: "overloaded overloaded_error rate_limit_error rate_limit_exceeded",
        ContextWindowOverflow: "context_length_exceeded context_window_exceeded",
        ContentFiltered: "content_filter content_policy_violation ResponsibleAIPolicyViolation",
        AuthError: "authentication_error invalid_api_key permission_error",
        ModelRetired: "model_deprecated model_not_found",
    }
)

_BY_NAME = _table(
    {
        ModelThrottled: (
            "ModelOverloadedError ModelRateLimitError OverloadedError RateLimitError "
            "TooManyRequestsError"
        ),
        NetworkError: (
            "APIConnectionError APITimeoutError APIConnectionTimeoutError DeadlineExceededError "
            "InternalServerError ModelConnectionError ModelRequestTimeout ModelServerError "
            "ModelTimeoutError ModelUnavailableError ServiceUnavailableError Timeout"
        ),
        ContextWindowOverflow: "ContextWindowExceededError ModelContextWindowExceededError",
        AuthError: (
            "AuthenticationError ModelAuthenticationError PermissionDeniedError UnauthorizedError"
        ),
        ContentFiltered: (
            "ContentFilterError ContentFilterFinishReasonError ContentPolicyViolationError "
            "ModelRefusalError"
        ),
        ModelRetired: "ModelNotFoundError NotFoundError",
    }
)

_BY_STATUS: dict[int, _Kind] = {
    401: AuthError,
    403: AuthError,
    404: ModelRetired,
    408: NetworkError,
    410: ModelRetired,
    429: ModelThrottled,
    529: ModelThrottled,
}

_BY_TEXT: tuple[tuple[re.Pattern[str], _Kind], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (r"(maximum|exceeds?( the)?( available)?) context (length|size|window)"
         r"|context (length|size|window) exceeded"
         r"|prompt is too long|reduce the length of the messages|input token count"
         r"|input is too long", ContextWindowOverflow),
        (r"content (filter|management policy|policy)|safety system", ContentFiltered),
        (r"model \S* ?(does not exist|not found|is not found|has been (deprecated|retired)"
         r"|decommissioned)|no such model|unknown model", ModelRetired),
        (r"(output|result) (retries|validation)", StructuredOutputFailed),
    )
)  # fmt: skip

_NO_ANSWER = _set(  # of an SDK, and without any status: the turn went wrong, for good
    "LengthFinishReasonError MaxTurnsExceeded ModelBehaviorError UnexpectedModelBehavior "
    "UsageLimitExceeded"
)

_LOST = _set(  # of HTTP clients
    "ClientConnectionError ConnectError ConnectTimeout ConnectionError ConnectionTimeoutError "
    "PoolTimeout ProtocolError ReadError ReadTimeout RemoteProtocolError ServerTimeoutError "
    "Timeout TimeoutException WriteError WriteTimeout"
)


def service_error(error: BaseException, *, agent: str | None = None) -> AgentError | None:
    """What an exception of an LLM library means, or None where that is not known.

    Args:
        error: any exception; nothing of it is trusted to work.
        agent: the agent that it is about.

    Returns:
        An error of procorch that names the original's class and text, with the seconds that the
        provider asked to wait in `retry_after` and the original as its cause. None for errors of
        procorch itself, and for all that is not about a model's service: those are `AgentFailure`s.
    """
    if isinstance(error, AgentError):
        return None
    chain = list(_chain(error))
    kind, passing = _kind_of(chain), False
    if kind in (None, StreamError, StructuredOutputFailed) and _cannot_be_read(chain):
        kind, passing = StreamError, True
    if kind is None:
        return None
    said = f"{kind()}{original(qualified_name(type(error)), text_of(error))}"
    trace = describe_failure(error).remote_traceback
    found = kind(said, agent=agent, remote_traceback=trace)
    found.retryable = found.retryable or passing
    if found.is_retryable:
        from procorch.agents.adapters.provider_waits import asked_to_wait  # heavy, rarely needed

        found.retry_after = asked_to_wait(chain)
    found.__cause__ = error
    return found


def error_of_another(error: BaseException, agent: str) -> AgentError | None:
    """The error of an agent that ``agent`` has asked, where that is all that there is to say.

    A library or a task group may have wrapped it on its way up through ``agent``, whose own fault
    it is not. None: ``agent`` has an error of its own.
    """
    return _of_another(error, agent, DEPTH)


def _of_another(error: BaseException | None, agent: str, depth: int) -> AgentError | None:
    if isinstance(error, AgentError):
        return error if error.agent not in (None, agent) else None
    if error is None or depth == 0:
        return None
    if isinstance(error, BaseExceptionGroup):
        found = [_of_another(each, agent, depth - 1) for each in error.exceptions]
        return None if None in found else found[-1]
    wrapped = error.__cause__ if _comes_from(error, LIBRARIES) else None
    return _of_another(wrapped, agent, depth - 1)


def _cannot_be_read(chain: list[BaseException]) -> bool:
    """Whether the provider's answer was no answer: a passing error of the provider."""
    links = _of_libraries(chain)
    if any(_status(link) is not None or _out_of_quota(link) for link in links):
        return False
    return is_malformed(links, chain)


def _kind_of(chain: list[BaseException]) -> _Kind | None:
    links = _of_libraries(chain)
    if not links:
        lost = any(_comes_from(it, _CLIENTS) and not _LOST.isdisjoint(_names(it)) for it in chain)
        return NetworkError if lost else None
    if any(_out_of_quota(link) for link in links):
        return StreamError
    return (
        first(_by_code(link) or _by_name(link) or _by_status(link) for link in links)
        or first(_by_text(link) for link in links)
        or (StreamError if any(_status(it) is not None for it in links) else None)
        or (StreamError if any(not _NO_ANSWER.isdisjoint(_names(it)) for it in links) else None)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, what it was raised from, and of a group the last."""
    link: BaseException | None = error
    for _ in range(DEPTH):
        if link is None:
            return
        yield link
        group = link.exceptions if isinstance(link, BaseExceptionGroup) else ()
        link = group[-1] if group else link.__cause__


def _of_libraries(chain: list[BaseException]) -> list[BaseException]:
    return [link for link in chain if _comes_from(link, LIBRARIES)]


def _comes_from(error: BaseException, modules: tuple[str, ...]) -> bool:
    return any(
        f"{cls.__module__}.".startswith(f"{m}.") for cls in type(error).__mro__ for m in modules
    )


def _names(error: BaseException) -> list[str]:
    return [cls.__name__ for cls in type(error).__mro__]


def _out_of_quota(error: BaseException) -> bool:
    if not _QUOTA.isdisjoint(_codes(error)) or not _QUOTA_NAMES.isdisjoint(_names(error)):
        return True
    if _QUOTA_TEXT.search(_said(error)) is None:
        return False
    from procorch.agents.adapters.provider_waits import asked_outright

    # Some say "quota" of a limit per minute as well, and then for how long to wait.
    return asked_outright(error) is None


def _by_code(error: BaseException) -> _Kind | None:
    return first(_BY_CODE.get(code) for code in _codes(error))


def _by_name(error: BaseException) -> _Kind | None:
    return first(_BY_NAME.get(name) for name in _names(error))


def _by_status(error: BaseException) -> _Kind | None:
    status = _status(error)
    if status is not None and status not in _BY_STATUS and 500 <= status < 600:
        return NetworkError
    return None if status is None else _BY_STATUS.get(status)


def _by_text(error: BaseException) -> _Kind | None:
    text = _said(error)
    return next((kind for pattern, kind in _BY_TEXT if pattern.search(text)), None)


def _said(error: BaseException) -> str:
    """The text, and the body of an answer that was no JSON."""
    body = attribute(error, "body")
    return f"{text_of(error)} {body}" if isinstance(body, str) else text_of(error)


def _codes(error: BaseException) -> Iterator[str]:
    """The provider's own words for what happened, wherever an SDK keeps them."""
    for name in ("code", "type", "provider_error_code", "provider_error_type"):
        yield from _texts(attribute(error, name))
    body = attribute(error, "body")
    inner = body.get("error") if isinstance(body, Mapping) else None
    for part in (body, inner, inner.get("innererror") if isinstance(inner, Mapping) else None):
        if isinstance(part, Mapping):
            yield from _texts(part.get("code"))
            yield from _texts(part.get("type"))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value


def _status(error: BaseException) -> int | None:
    response = attribute(error, "response")
    found = (
        attribute(error, "status_code"),
        attribute(response, "status_code"),
        attribute(error, "code"),
    )
    numbers = (int(it) if isinstance(it, str) and it.isdecimal() else it for it in found)
    return next((it for it in numbers if type(it) is int and 100 <= it < 600), None)
