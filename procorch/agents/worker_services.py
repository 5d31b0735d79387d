"""What a worker does for its agent beyond the worker itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from procorch.agents.conversation_turn import ConversationTurn
from procorch.agents.permits import CallServices

if TYPE_CHECKING:
    from procorch.agents.stream_events import StreamEvent


def is_piece(value: object) -> TypeGuard[str | StreamEvent]:
    """Whether a value is text or an event. Where there is an event, its module is loaded."""
    if isinstance(value, str):
        return True
    events = sys.modules.get("procorch.agents.stream_events")
    return events is not None and isinstance(value, events.StreamEvent)


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
