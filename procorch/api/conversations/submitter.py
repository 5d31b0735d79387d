"""Submits requests in one conversation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from procorch.api.conversations.lanes import Key, Turn
from procorch.futures.kept import KeptReply, KeptStream
from procorch.futures.reply import Reply, ReplyFuture
from procorch.futures.stream import StreamReply
from procorch.messages import AgentResult
from procorch.runtime.instance_runtime import AgentRuntime
from procorch.runtime.ports import RequestPort
from procorch.runtime.submit import Delivery, Submitter, next_number

if TYPE_CHECKING:
    from procorch.api.conversations.keeper import Keeper

_Reply = TypeVar("_Reply", bound=Reply[Any])


class ConversationSubmitter(Submitter):
    """Makes requests as `Submitter` does, and gives them to the keeper, which submits them.

    Args:
        name: the name of the conversation.
    """

    reply: type[ReplyFuture[Any]] = KeptReply
    stream: type[StreamReply] = KeptStream

    def __init__(
        self, agent: AgentRuntime, limit: int, requests: RequestPort, keeper: Keeper, name: str
    ) -> None:
        super().__init__(agent, limit, requests)
        self.keeper: Keeper = keeper
        self.key: Key = Key(agent.name, name)
        name_of_agent, drop, *others = self._about_reply
        self._about_turn = (name_of_agent, lambda number: keeper.drop(number, drop), *others)

    def renamed(self, name: str) -> ConversationSubmitter:
        """The same for another conversation."""
        return ConversationSubmitter(self._agent, self._limit, self._requests, self.keeper, name)

    def call(self, payload: Any, delivery: Delivery) -> AgentResult[Any]:
        """See `Submitter`."""
        result: AgentResult[Any] = self.send(payload, KeptReply, delivery).result()
        return result

    def send(self, payload: Any, kind: Callable[..., _Reply], delivery: Delivery) -> _Reply:
        """See `Submitter`; ``kind`` makes a `KeptReply`."""
        body = self._encode(payload)
        reply = kind(next_number(), *self._about_turn)
        assert isinstance(reply, KeptReply)
        request = self._request(body, reply, delivery)
        if request is not None:
            turn = Turn(self.key, request, reply, request.cargo.body, self._limit, self._requests)
            self.keeper.send(turn)
        return reply
