"""Requests in named conversations: what comes with them, and what is stored before their answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from procorch.agents.agent import Agent
from procorch.agents.conversation_turn import SEEDED, WHOLE, ConversationTurn
from procorch.errors import MessageTooLarge
from procorch.wire import codec, headers
from procorch.wire.frame import Kind
from procorch.wire.payload import Buffer
from procorch.worker.parent_link import ParentLink


def opened(head: headers.TurnHead, body: Buffer) -> tuple[Buffer, ConversationTurn]:
    """The message in the body of a request, and the turn that it begins.

    Raises:
        SerializationError: a state cannot be loaded here.
    """
    view, at = memoryview(body), head.split
    stored: list[tuple[str, Any]] = []
    for form, size in head.stored:
        what = "message" if form == SEEDED else "state of a conversation"
        stored.append((form, codec.decode(bytes(view[at : at + size]), what=what)))
        at += size
    return view[: head.split], ConversationTurn(head.name, head.kind, stored)


def respond(
    agent: Agent, turn: ConversationTurn, message: Any, finish: Callable[[Any], Any]
) -> Any:
    """Run one request in a conversation.

    Args:
        finish: returns a value, awaited if it is awaitable.
    """
    finish(agent.open_turn(turn))
    output = finish(agent.respond(message))
    state = finish(agent.close_turn(turn, message, output))
    if agent.saves:
        turn.form, turn.state = WHOLE, state
    return output


async def respond_async(agent: Agent, turn: ConversationTurn, message: Any) -> Any:
    """The same where several requests run at once. The object of such an agent saves nothing."""
    agent.open_turn(turn)
    value = agent.respond(message)
    output = await value if hasattr(value, "__await__") else value
    agent.close_turn(turn, message, output)
    return output


def store(parent: ParentLink, request: int, turn: ConversationTurn, limit: int) -> None:
    """Send what is to be stored of a turn; the answer follows.

    Args:
        limit: the largest message, in bytes.

    Raises:
        SerializationError: it cannot be serialised.
        MessageTooLarge: it is larger than the limit.
    """
    messages = codec.encode(list(turn.messages), what="message of a conversation")
    form, state = turn.form, turn.checkpoint
    if state is not None:
        form = WHOLE
    elif form is not None:
        state = codec.encode(turn.state, what="state of a conversation")
    head = headers.KeptTurnHead(form, turn.kind, len(turn.messages), sum(map(len, messages)))
    body = [*messages, *(state or ())]
    size = sum(map(len, body))
    if size > limit:
        raise MessageTooLarge(what="turn of a conversation", size=size, limit=limit)
    parent.send(Kind.CHECKPOINT, request, headers.encode(head), body)
