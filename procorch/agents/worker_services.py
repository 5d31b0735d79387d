"""What a worker does for its agent beyond the worker itself."""

from __future__ import annotations

from typing import Any, Protocol

from procorch.agents.conversation_turn import ConversationTurn
from procorch.agents.permits import CallServices
from procorch.agents.stream_events import StreamEvent


class Services(CallServices, Protocol):
    """What a worker does for its agent beyond the worker itself."""

    def ask(self, agent: str, name: str, message: Any, remaining: float | None) -> Any:
        """Ask agent ``name`` on behalf of ``agent``."""
        ...

    async def ask_async(self, agent: str, name: str, message: Any, remaining: float | None) -> Any:
        """The same for a coroutine."""
        ...

    def emit(self, agent: str, request: int, piece: str | StreamEvent) -> None:
        """Send a piece of the answer to ``request``."""
        ...

    async def emit_async(self, agent: str, request: int, piece: str | StreamEvent) -> None:
        """The same for a coroutine."""
        ...

    def checkpoint(self, agent: str, state: Any, turn: ConversationTurn | None) -> None:
        """Keep ``state`` for the next generation of ``agent``, or the next turn after ``turn``."""
        ...
