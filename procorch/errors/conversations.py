"""Errors of named conversations and of the file that keeps them."""

from __future__ import annotations

from procorch.errors.base import AgentError, known


@known
class ConversationError(AgentError):
    """Something about a named conversation; `conversation` is its name."""

    conversation: str = ""


@known
class UnknownConversation(ConversationError):
    """There is no conversation of that name."""

    def _describe(self) -> str:
        return f"there is no conversation {self.conversation!r}"


@known
class ConversationExists(ConversationError):
    """There is a conversation of that name already."""

    def _describe(self) -> str:
        return f"there is a conversation {self.conversation!r} already: forget it first"


@known
class ConversationStoreError(ConversationError):
    """The file that keeps conversations cannot be used; the text says why, and what to do."""


@known
class ConversationStoreBusy(ConversationStoreError):
    """Another process keeps its conversations in this file; the text names it."""


@known
class ConversationStoreMismatch(ConversationStoreError):
    """The file is no store of conversations, or was written by a newer procorch."""


@known
class ConversationStoreDamaged(ConversationStoreError):
    """What the file has is not what was written."""
