"""A conversation with an agent, as its user holds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from procorch.api.conversations.lanes import Key
from procorch.api.conversations.messages import opened
from procorch.api.conversations.submitter import ConversationSubmitter
from procorch.api.sending import Sending
from procorch.errors import NoMessages
from procorch.messages import AgentMessage, AgentResult, user_text
from procorch.runtime.monitor import Monitor
from procorch.units import whole
from procorch.wire import codec

if TYPE_CHECKING:
    import asyncio


class Conversation(Sending):
    """A named conversation with an agent, kept on disk; `OrchestratedHandle.conversation` makes it.

    Requests are sent as with the handle of the agent. An answer is stored before it is given; a
    request that fails leaves the conversation as it was. Requests and changes of one conversation
    happen one after the other, in the order in which they were asked for. `read` does not wait.

    Example:
        >>> with AgentOrchestrator(conversations="chats.db") as orch:
        ...     orch.add_agent("planner", planner)
        ...     trip = orch.spawn("planner").conversation("trip")
        ...     print(trip.send_message("Plan a trip to Rome").text, len(trip.read()))
    """

    _submitter: ConversationSubmitter

    def __init__(self, submitter: ConversationSubmitter, monitor: Monitor) -> None:
        self._submitter = submitter
        self._monitor = monitor

    @property
    def name(self) -> str:
        """Its name."""
        return self._submitter.key.name

    @property
    def agent(self) -> str:
        """The name of the agent."""
        return self._submitter.key.agent

    def resume(
        self,
        result: AgentResult,
        decisions: Mapping[str, bool | str],
        *,
        timeout: float | str | None = None,
    ) -> AgentResult:
        """Decide about the calls of tools that a result of this conversation waits for.

        Like `OrchestratedHandle.resume`, which has the arguments and errors. What waits is kept
        with the conversation, over restarts of the agent and of the program.
        """
        from procorch.agents.approval import decided  # few agents ask

        return self._call(decided(result, decisions), timeout)

    def read(self) -> list[AgentMessage]:
        """All that was said, in order, up to the last answer.

        Raises:
            UnknownConversation: it has not begun.
            ConversationStoreDamaged: what is stored of it is not what was written.
            SerializationError: a message has an object whose class cannot be loaded here.
        """
        return opened(self._read().result())

    async def read_async(self) -> list[AgentMessage]:
        """Like `read`, without blocking the event loop."""
        return opened(await _awaitable(self._read()))

    def _read(self) -> Future[Any]:
        self._monitor.must_be_ours()
        return self._submitter.keeper.read(lambda file: file.read(*self._submitter.key))

    def seed(self, messages: Sequence[AgentMessage | str]) -> None:
        """Begin it with messages, as if they had been said; text is what the user said.

        Raises:
            ConversationExists: it has begun already.
            NoMessages: there are none.
            TypeError: one of them is no message.
        """
        self._seed(messages).result()

    async def seed_async(self, messages: Sequence[AgentMessage | str]) -> None:
        """Like `seed`, without blocking the event loop."""
        await _awaitable(self._seed(messages))

    def _seed(self, messages: Sequence[AgentMessage | str]) -> Future[Any]:
        self._monitor.must_be_ours()
        if isinstance(messages, str) or not isinstance(messages, Sequence):
            raise TypeError(f"seed() takes a list of messages, not {type(messages).__name__}")
        said = [user_text(each) if isinstance(each, str) else each for each in messages]
        for message in said:
            if not isinstance(message, AgentMessage):
                raise TypeError(f"{type(message).__name__} is no message")
        if not said:
            raise NoMessages(agent=self.agent)
        body = b"".join(codec.encode(said, what="message of a conversation"))
        return self._change(lambda file, key: file.seed(*key, len(said), body))

    def trim(self, turns: int) -> int:
        """Forget all but the last turns; a turn is a request with its answer.

        An agent that saves its own state keeps that: only what `read` gives becomes shorter.

        Args:
            turns: how many are kept, at least 1.

        Returns:
            How many turns were removed.

        Raises:
            UnknownConversation: it has not begun.
            ValueError: ``turns`` is less than 1.
        """
        removed: int = self._trim(turns).result()
        return removed

    async def trim_async(self, turns: int) -> int:
        """Like `trim`, without blocking the event loop."""
        removed: int = await _awaitable(self._trim(turns))
        return removed

    def _trim(self, turns: int) -> Future[Any]:
        self._monitor.must_be_ours()
        most = whole(turns, "turns", least=1)
        return self._change(lambda file, key: file.trim(*key, most))

    def fork(self, name: str) -> Conversation:
        """Begin another conversation with all that was said in this one; both go on apart.

        Args:
            name: that of the other one.

        Raises:
            UnknownConversation: this one has not begun.
            ConversationExists: the other one has begun already.
        """
        self._fork(name).result()
        return self._other(name)

    async def fork_async(self, name: str) -> Conversation:
        """Like `fork`, without blocking the event loop."""
        await _awaitable(self._fork(name))
        return self._other(name)

    def _fork(self, name: str) -> Future[Any]:
        self._monitor.must_be_ours()
        must_be_a_name(name)
        return self._submitter.keeper.fork(self._submitter.key, name)

    def _other(self, name: str) -> Conversation:
        return Conversation(self._submitter.renamed(name), self._monitor)

    def forget(self) -> None:
        """Remove it from the disk; the next request begins it anew.

        What it had is overwritten in the file. Copies that the file system keeps are not.

        Raises:
            UnknownConversation: it has not begun.
        """
        self._forget().result()

    async def forget_async(self) -> None:
        """Like `forget`, without blocking the event loop."""
        await _awaitable(self._forget())

    def _forget(self) -> Future[Any]:
        self._monitor.must_be_ours()
        keeper, key = self._submitter.keeper, self._submitter.key
        return keeper.change(key, lambda file: file.forget(*key), lambda file: file.settle())

    def _change(self, write: Callable[[Any, Key], Any]) -> Future[Any]:
        key = self._submitter.key
        return self._submitter.keeper.change(key, lambda file: write(file, key))

    def __repr__(self) -> str:
        return f"<Conversation {self.name!r} with agent {self.agent!r}>"


def _awaitable(done: Future[Any]) -> asyncio.Future[Any]:
    import asyncio  # a slow import, which a program that awaits has already done

    return asyncio.wrap_future(done)


def must_be_a_name(name: str) -> None:
    """Refuse what is no name of a conversation.

    Raises:
        TypeError, ValueError: it is no text, is empty, or cannot be stored.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a conversation is text, not {type(name).__name__}")
    if not name or name != name.encode(errors="ignore").decode():
        raise ValueError(f"{name!r} is no name of a conversation: give text of Unicode characters")
