"""Makes the reply of a worker to a request that has failed."""

from __future__ import annotations

import traceback  # noqa: F401  # at the start: when an error comes, no descriptor may be left for it
from typing import Any

from procorch.agents.adapters.error_map import error_of_another, service_error
from procorch.errors import AgentFailure, MessageTooLarge
from procorch.errors.base import describe_failure
from procorch.errors.plain_data import to_plain
from procorch.errors.redaction import patterns
from procorch.wire import codec, headers
from procorch.wire.payload import Buffer

patterns()  # as above: no memory may be left for it

HEAD_LIMIT = 1 << 20
"""Bytes that a frame to the parent may have beside its message."""


def describe(
    error: BaseException, limit: int | None, agent: str
) -> tuple[dict[str, Any], list[Buffer]]:
    """The error as plain data, and the exception itself if it loads again.

    Only a round trip shows whether an exception loads: those of openai and litellm dump well and
    fail to load. A known error of a model's service is sent without the exception. Methods of an
    exception are code of the user, so an error that they raise must not end the worker.

    Args:
        limit: the largest reply, in bytes; None: no exception is sent.
        agent: its name.
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
    if limit is None:
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


def error_head(
    error: dict[str, Any],
    resources: headers.ResourceUse | None = None,
    used: list[int | float] | None = None,
) -> bytes:
    """The header of an ERROR frame, shortened if it is too large."""
    head = headers.encode(headers.ErrorHead(error, resources, used))
    if len(head) > HEAD_LIMIT:
        # `to_plain` limits the main text, but not the number of notes and causes.
        bare = {**error, "notes": ["its notes and causes were too long to send"]}
        bare.pop("cause", None)
        head = headers.encode(headers.ErrorHead(bare, resources, used))
    return head
