"""Messages of a conversation, as its store has them."""

from __future__ import annotations

from procorch.messages import AgentMessage
from procorch.wire import codec


def opened(turns: list[bytes]) -> list[AgentMessage]:
    """The messages that `reader.ConversationReader.read` gives.

    Raises:
        SerializationError: one has an object whose class cannot be loaded here.
    """
    found: list[AgentMessage] = []
    for turn in turns:
        found += codec.decode(turn, what="message of a conversation")
    return found
