"""Errors of named conversations and of the file that keeps them."""

from __future__ import annotations

from procorch.errors.base import AgentError, known


@known
class ConversationError(AgentError):
    """Something about a named conversation; `conversation` is its name.

    Example:
        >>> issubclass(UnknownConversation, ConversationError)
        True
    """

    conversation: str = ""


@known
class UnknownConversation(ConversationError):
    """There is no conversation of that name.

    Example:
        >>> print(UnknownConversation(agent="planner", conversation="trip"))
        agent 'planner': there is no conversation 'trip'
    """

    def _describe(self) -> str:
        return f"there is no conversation {self.conversation!r}"


@known
class ConversationExists(ConversationError):
    """There is a conversation of that name already.

    Example:
        >>> print(ConversationExists(agent="planner", conversation="trip"))
        agent 'planner': there is a conversation 'trip' already: forget it first
    """

    def _describe(self) -> str:
        return f"there is a conversation {self.conversation!r} already: forget it first"


@known
class ConversationStoreError(ConversationError):
    """The file that keeps conversations cannot be used; the text says why, and what to do.

    Example:
        >>> issubclass(ConversationStoreError, ConversationError)
        True
    """


@known
class ConversationStoreBusy(ConversationStoreError):
    """Another process keeps its conversations in this file; the text names it.

    Example:
        >>> issubclass(ConversationStoreBusy, ConversationStoreError)
        True
    """


@known
class ConversationStoreMismatch(ConversationStoreError):
    """The file is no store of conversations, or was written by a newer procorch.

    Example:
        >>> issubclass(ConversationStoreMismatch, ConversationStoreError)
        True
    """


@known
class ConversationStoreDamaged(ConversationStoreError):
    """What the file has is not what was written.

    Example:
        >>> issubclass(ConversationStoreDamaged, ConversationStoreError)
        True
    """
