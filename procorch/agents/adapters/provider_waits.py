"""For how long a provider wants to be left alone, wherever it has written that.

Read from the outside, as all of an exception (`error_map`): no SDK is imported. The first of these
that says something counts, each of them looked for in the exception and then in its causes:

1. what the SDK has read (``retry_after``), ``retry-after-ms`` and ``retry-after`` (RFC 9110), also
   with a unit (``20s``);
2. Google's ``RetryInfo`` in the body;
3. when a limit that is used up begins anew: ``x-ratelimit-reset-requests`` and the like of OpenAI,
   ``anthropic-ratelimit-...-reset``, ``x-ratelimit-reset`` (seconds, or a moment in seconds or
   milliseconds since 1970);
4. the text: "try again in 1.5s".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import time
from typing import Any

from procorch.agents.adapters.attributes import attribute, first
from procorch.errors.texts import text_of
from procorch.errors.waits import DURATION, seconds_to_wait

_IN_TEXT = (
    re.compile(
        rf"\b(?:(?:re)?try(?:ing)?(?: your request)?(?: again)?|wait)"
        rf" (?:in |after |for |at least |about )*({DURATION})",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\bretry[-_ ]?(?:after|delay)(?:[-_ ](?:seconds|secs?))?['\"]?\s*[:=]\s*['\"]?"
        rf"({DURATION}|\d+(?:\.\d+)?)",
        re.IGNORECASE,
    ),
)
_LEFT = re.compile(r"^(.*ratelimit.*?)remaining(.*)$")
_LONGEST_DELAY = 1e8
"""Larger figures are moments since 1970, in seconds; a thousand times larger ones milliseconds."""
_DEPTH = 6
"""Levels of a body that are looked at."""


def asked_to_wait(chain: Sequence[BaseException]) -> float | None:
    """Seconds that a provider asked to wait; None where it said nothing.

    Args:
        chain: the exception and its causes.
    """
    ways: tuple[Callable[[BaseException], float | None], ...] = (
        _said_at_once, _retry_info, _until_reset, _in_text,
    )  # fmt: skip
    return first(way(link) for way in ways for link in chain)


def asked_outright(error: BaseException) -> float | None:
    """The same without the resets of limits, which come with every answer of a provider."""
    return first(way(error) for way in (_said_at_once, _retry_info, _in_text))


def _said_at_once(error: BaseException) -> float | None:
    said = seconds_to_wait(attribute(error, "retry_after"))
    if said is not None:
        return said
    for headers in _headers(error):
        milliseconds = seconds_to_wait(headers.get("retry-after-ms"))
        if milliseconds is not None:
            return milliseconds / 1000
        said = seconds_to_wait(headers.get("retry-after"))
        if said is not None:
            return said
    return None


def _until_reset(error: BaseException) -> float | None:
    """When the last of the limits that are used up begins anew."""
    waits = []
    for headers in _headers(error):
        for name, left in headers.items():
            limit = _LEFT.match(name)
            if limit is not None and left.strip() == "0":
                before, after = limit.groups()
                names = (f"{before}reset{after}", f"{before}{after.strip('-')}-reset")
                waits += [_from_moment(headers[name]) for name in names if name in headers]
    return max((wait for wait in waits if wait is not None), default=None)


def _from_moment(reset: str) -> float | None:
    said = seconds_to_wait(reset)
    if said is None or said < _LONGEST_DELAY:
        return said
    since_1970 = said / 1000 if said > 1000 * _LONGEST_DELAY else said
    return max(0.0, since_1970 - time())


def _retry_info(error: BaseException) -> float | None:
    """Google's ``{"@type": ".../google.rpc.RetryInfo", "retryDelay": "34s"}``."""
    for name in ("body", "details", "response_json"):
        found = _delay(attribute(error, name), _DEPTH)
        if found is not None:
            return found
    return None


def _delay(body: Any, depth: int) -> float | None:
    if depth == 0:
        return None
    if isinstance(body, Mapping):
        delay = body.get("retryDelay", body.get("retry_delay"))
        if isinstance(delay, Mapping):  # protobuf as JSON of its fields
            delay = seconds_to_wait(delay.get("seconds", 0))
        found = seconds_to_wait(delay)
        return first(_delay(part, depth - 1) for part in body.values()) if found is None else found
    if isinstance(body, list | tuple):
        return first(_delay(part, depth - 1) for part in body)
    return None


def _in_text(error: BaseException) -> float | None:
    body = attribute(error, "body")
    text = f"{text_of(error)} {body}" if isinstance(body, str) else text_of(error)
    found = first(pattern.search(text) for pattern in _IN_TEXT)
    return None if found is None else seconds_to_wait(found[1])


def _headers(error: BaseException) -> Iterator[dict[str, str]]:
    """The headers of the answer, with their names in small letters."""
    response = attribute(error, "response")
    for headers in (
        attribute(error, "headers"),
        attribute(error, "litellm_response_headers"),
        attribute(response, "headers"),
    ):
        items = attribute(headers, "items")
        if callable(items):
            try:
                yield {str(name).lower(): str(value) for name, value in items()}
            except Exception:
                continue  # an object of somebody's that only looks like headers
