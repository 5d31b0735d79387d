"""What a worker says of a request that has failed."""

from __future__ import annotations

import traceback  # noqa: F401  # at the start: when an error comes, no descriptor may be left for it
from typing import Any

from procorch.agents.adapters.error_map import error_of_another, service_error
from procorch.errors import AgentFailure, MessageTooLarge
from procorch.errors.base import describe_failure
from procorch.errors.plain_data import to_plain
from procorch.wire import codec, headers
from procorch.wire.payload import Buffer

HEAD_LIMIT = 1 << 20
"""Bytes that the parent lets a frame have beside its message."""


def describe(error: BaseException, limit: int, agent: str) -> tuple[dict[str, Any], list[Buffer]]:
    """The error as plain data, and the exception itself where it is proven to load again.

    openai's and litellm's exceptions dump well and fail to load: only a round trip tells. What
    is known to be about a model's service goes as that alone. An exception has methods of the
    user's, and whatever they raise must not end the worker.
    """
    try:
        error = error_of_another(error, agent) or error
        known = service_error(error, agent=agent)
        if known is not None:
            return to_plain(known), []
        plain = to_plain(describe_failure(error, agent=agent))
    except BaseException as broken:
        said = f"its text cannot be read: {type(broken).__name__}"
        kind = type(error).__qualname__
        plain = to_plain(AgentFailure(agent=agent, exc_type=kind, exc_str=said))
        return plain, []
    try:
        body = codec.encode(error, what="exception")
        if type(codec.decode(b"".join(body))) is not type(error):
            return plain, []
        refuse_too_large(body, limit, agent)
    except BaseException:
        return plain, []
    return plain, body


def refuse_too_large(body: list[Buffer], limit: int, agent: str) -> None:
    """Raise `MessageTooLarge` for a reply of more than ``limit`` bytes."""
    size = sum(map(len, body))
    if size > limit:
        raise MessageTooLarge(agent=agent, what="reply", size=size, limit=limit)


def error_head(error: dict[str, Any], resources: headers.ResourceUse | None = None) -> bytes:
    """The head of an ERROR frame, with what fits of it."""
    head = headers.encode(headers.ErrorHead(error, resources))
    if len(head) > HEAD_LIMIT:
        # The main text is bounded by `to_plain`; notes and causes come in any number.
        bare = {**error, "notes": ["its notes and causes were too long to send"]}
        bare.pop("cause", None)
        head = headers.encode(headers.ErrorHead(bare, resources))
    return head
