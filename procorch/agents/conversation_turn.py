"""One request in a named conversation: what is stored of it before, and what its answer adds.

The store is in the parent. Each turn of a conversation has its messages there, and a state for the
agent: the part that it adds to the history of a library, or the whole state of an agent that saves
itself. A worker gets the states with the request and keeps nothing of them, so any instance of an
agent can continue any of its conversations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from procorch.errors import ConversationError
from procorch.messages import AgentMessage

SEEDED = "seeded"
"""The turn has messages and no state: they were given in place of a conversation."""
PART = "part"
"""Its state is what the turn adds to the history."""
WHOLE = "whole"
"""Its state replaces what was before."""

CHECKPOINTS, LOAD_AND_SAVE = "checkpoints", "load and save"
SELF_SAVED: tuple[str, str] = (CHECKPOINTS, LOAD_AND_SAVE)
"""What makes the states of agents that have no history of a library."""


class ConversationTurn:
    """What a worker knows of a named conversation during one request.

    Args:
        name: the name of the conversation.
        kind: what made the states; "": nothing has.
        stored: the turns before it, each its form and its state, or its messages if it was seeded.

    Attributes:
        form: of ``state``; None: the turn has no state.
        state: what the agent is to have in the next turn.
        checkpoint: the state in its place that the agent's code gave to `Context.checkpoint`, as
            bytes; None: it gave none.
        messages: what was said in this turn.
    """

    def __init__(self, name: str, kind: str, stored: Sequence[tuple[str, Any]]) -> None:
        self.name: str = name
        self.kind: str = kind
        self.stored: Sequence[tuple[str, Any]] = stored
        self.form: str | None = None
        self.state: Any = None
        self.checkpoint: Sequence[Any] | None = None
        self.messages: Sequence[AgentMessage] = ()

    @property
    def last_state(self) -> Any:
        """The state of an agent that saves itself; None before its first turn."""
        states = [state for form, state in self.stored if form == WHOLE]
        return states[-1] if states else None

    def must_be_of(self, kind: str) -> None:
        """Refuse an agent that cannot read the states.

        Args:
            kind: what makes states of this agent.

        Raises:
            ConversationError: something else has made them.
        """
        if self.kind not in ("", kind):
            raise ConversationError(
                f"conversation {self.name!r} was kept by {self.kind}, and this agent has {kind}: "
                "seed another conversation with what read() gives",
                conversation=self.name,
            )
        self.kind = kind
