"""What a turn of a named conversation begins with, and what is kept of it."""

from __future__ import annotations

from typing import Any

from procorch.agents.approval import ToolDecisions
from procorch.agents.conversation_turn import PART, SEEDED, WHOLE, ConversationTurn
from procorch.agents.libraries import Conversation
from procorch.agents.text_messages import as_messages
from procorch.errors import NoMessages
from procorch.messages import AgentResult, CustomMessage, to_result


def history_of(turn: ConversationTurn, conversation: Conversation) -> Any:
    """The history up to this turn, as the library has it."""
    history: Any = []
    for form, state in turn.stored:
        if form == SEEDED:
            history = [*history, *conversation.from_messages(state)]
        elif form == WHOLE:
            history = conversation.load(state)
        else:
            history = [*history, *conversation.load(state)]
    return history


def keep_answer(
    turn: ConversationTurn,
    conversation: Conversation,
    before: Any,
    after: Any,
    payload: Any,
    result: AgentResult,
) -> None:
    """A model has answered: keep what was said, and what the history has grown by."""
    # Else the library has rewritten it, or a call of a tool waits for approval.
    grown = type(before) is type(after) is list and after[: len(before)] == before
    turn.form = PART if grown else WHOLE
    turn.state = conversation.save(after[len(before) :] if grown else after)
    asked = [] if isinstance(payload, ToolDecisions) else as_messages(payload)
    turn.messages = (*asked, *result.messages)


def keep_output(turn: ConversationTurn, payload: Any, output: Any) -> None:
    """An agent without a model has answered: keep what was said."""
    try:
        asked = as_messages(payload)
    except (TypeError, NoMessages):
        asked = [CustomMessage(payload, kind="request")]
    result = to_result(output)
    told = result.messages or (CustomMessage(result.output, kind="answer"),)
    turn.messages = (*asked, *told)
