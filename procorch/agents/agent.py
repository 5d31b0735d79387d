"""What counts as an agent, and the one shape that a worker knows: `Agent`.

A factory may return options, an object with a method, a plain callable, or an agent of an LLM
library; `as_agent` makes an `Agent` of it. Whatever cannot be one is refused when the worker
starts, for good (no restart would mend it), with a text that says what came and what may come.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from procorch.agents.account import account, enter
from procorch.agents.approval import ToolDecisions
from procorch.agents.conversation_history import history_of, keep_answer, keep_output
from procorch.agents.conversation_turn import CHECKPOINTS, LOAD_AND_SAVE, ConversationTurn
from procorch.agents.current import installed
from procorch.agents.libraries import Conversation, connect_servers, library_of, open_conversation
from procorch.agents.limited import permitted
from procorch.agents.options import (
    AgentOptions,
    by_name,
    described,
    refusal,
    refuse_beside_others,
    refuse_wrong,
)
from procorch.agents.text_messages import as_messages
from procorch.errors.texts import did_you_mean
from procorch.messages import AgentMessage, AgentResult, Cost, Usage

if TYPE_CHECKING:
    from procorch.agents.mcp_servers import McpServers

_ACCEPTED = (
    "a factory returns AgentOptions, an object with prompt(messages) or handle(messages), "
    "or a callable that takes the messages"
)
_OF_MODELS = (
    "output_type", "model_settings", "usage_limits", "deps", "approval", "retries", "mcp",
)  # fmt: skip
_STATE = "procorch.conversation"


class Agent:
    """One agent in its worker: keeps the conversation and runs one request at a time.

    Args:
        options: how it works.
        product: the user's own object; its `ready()` and `close()` are called where it has them.

    Raises:
        StartError: permanent, in phase "construct": the options name nothing that can do the work.

    Example:
        >>> agent = Agent(AgentOptions(handler=lambda messages: messages[-1].text.upper()))
        >>> agent.respond([UserMessage("hello")])
        'HELLO'
    """

    def __init__(self, options: AgentOptions, product: object = None) -> None:
        self.options = options
        self.responder: Callable[[Any], Any] = self._converse
        """What `respond` calls: without the way there, for very many requests at once."""
        self._product = product
        self._talk: Conversation | None = None
        self._blank: Any = None
        self._alone = True
        self.used: tuple[Usage, Cost] | None = None
        """What the last request has used up of a model, whatever became of it."""
        self._servers: McpServers | None = None
        self._taken_back: tuple[Any] | None = None  # the history before an answer, while it counts
        tools = by_name(options.tools)
        for name in ("handler", "stream_fn"):
            given = getattr(options, name)
            if given is not None and not callable(given):
                raise refusal(f"AgentOptions.{name} is not callable: {described(given)}")
        if type(options.max_turns) is not int or options.max_turns < 1:
            raise refusal(f"AgentOptions.max_turns is not 1 or more: {options.max_turns!r}")
        if options.handler is not None or options.stream_fn is not None:
            _refuse_what_needs_a_model(options)
        refuse_wrong(options)
        if not options.mcp:
            _refuse_unknown(options.approval, tools)
        if options.handler is not None:
            self.responder = permitted(options.handler)
        if options.stream_fn is not None and options.handler is None:
            # Here, since most workers need none of it.
            from procorch.agents.model_turns import TurnContext, Turns

            turn = TurnContext(options.system_prompt, (), tuple(options.tools), options.model)
            tell = options.tool_errors == "tell"
            self._talk = Turns(options.stream_fn, turn, tools, options.max_turns, tell=tell)
        elif options.handler is None:
            self._talk = self._open_conversation(tools)
        if not options.keep_history:
            self._begin_anew()
        if options.checkpoint:
            self._go_on()

    def _open_conversation(self, tools: Collection[str]) -> Conversation:
        """The conversation with a model, whose MCP servers are connected first."""
        if not self.options.mcp:
            return open_conversation(self.options)
        self._servers = servers = connect_servers(self.options.mcp, tools)
        try:
            names = [*tools, *(tool.name for tool in servers.tools)]
            _refuse_unknown(self.options.approval, names)
            return open_conversation(self.options, servers.tools)
        except BaseException:
            servers.close()
            raise

    @property
    def messages(self) -> Sequence[AgentMessage]:
        """The conversation so far; empty where a `handler` does the work."""
        return () if self._talk is None else self._talk.messages

    def respond(self, payload: Any) -> Any:
        """Run one request.

        Args:
            payload: what was sent: a list of messages, or any object.

        Returns:
            What the agent returned: any value, an `AgentResult`, or an awaitable of either.
        """
        return self.responder(payload)

    def run_several(self) -> None:
        """Prepare for several requests at once (``concurrency``).

        Raises:
            StartError: permanent: the agent is not asynchronous, or keeps one conversation.
        """
        refuse_beside_others(self.options, saves=self.saves)
        self._alone = False
        if self._talk is not None:
            self._blank = self._talk.history

    def for_one(self) -> Agent:
        """The agent for one of several requests: what it leaves, the others do not see."""
        one = copy(self)
        one.responder = self.responder if self._talk is None else one._converse
        return one

    def ready(self) -> Any:
        """What the user's `ready()` returned, a value or an awaitable; None without one (N12)."""
        opening = None if self._talk is None else self._talk.ready()
        return self._call("ready") if opening is None else self._opened(opening)

    async def _opened(self, opening: Awaitable[None]) -> None:
        await opening
        await _all_of(self._call("ready"))

    def close(self) -> Any:
        """What the user's `close()` returned, a value or an awaitable; None without one. The
        MCP servers have ended by then."""
        ending = None if self._talk is None else self._talk.close()
        try:
            closed = self._call("close")
        finally:
            if self._servers is not None:
                self._servers.close()
        return closed if ending is None else _all_of(ending, closed)

    def _call(self, name: str, *args: Any) -> Any:
        method = getattr(self._product, name, None)
        return method(*args) if callable(method) else None

    async def _converse(self, payload: Any) -> AgentResult:
        assert self._talk is not None
        self._taken_back = self.used = None
        decisions = payload.decisions if isinstance(payload, ToolDecisions) else None
        worker = installed()
        turn = None if worker is None else worker.turn
        before = self._talk.history
        if turn is not None:
            before = history_of(turn, self._talk)
        elif not self._alone or (not self.options.keep_history and decisions is None):
            before = self._blank
        try:
            with account() as others:
                if decisions is None:
                    result, history = await self._talk.respond(as_messages(payload), before)
                else:
                    result, history = await self._talk.resume(decisions, before)
        except BaseException:
            self.used = _sum_of(others)
            enter(AgentResult(usage=self.used[0], cost=self.used[1]))
            raise
        if others:  # tools have asked them: what they have used was for this answer
            usage, cost = _sum_of([result, *others])
            result = replace(result, usage=usage, cost=cost)
        self.used = result.usage, result.cost
        enter(result)
        if turn is not None:
            keep_answer(turn, self._talk, before, history, payload, result)
            return result
        if self._alone:
            self._store(history)  # Before the reply: what a caller was told has been remembered.
            self._taken_back, self._talk.history = (before,), history
        return result

    @property
    def saves(self) -> bool:
        """Whether the user's object has both `load` and `save`, for named conversations."""
        methods = (getattr(self._product, name, None) for name in ("load", "save"))
        return self._talk is None and all(map(callable, methods))

    def open_turn(self, turn: ConversationTurn) -> Any:
        """Begin a request in a named conversation.

        Returns:
            What the `load` of the user's object returned, a value or an awaitable; None without.

        Raises:
            ConversationError: an agent of another kind has kept the conversation.
        """
        if self._talk is not None:
            turn.must_be_of(self._kind)
            return None
        turn.must_be_of(LOAD_AND_SAVE if self.saves else CHECKPOINTS)
        return self._call("load", turn.last_state) if self.saves else None

    def close_turn(self, turn: ConversationTurn, payload: Any, output: Any) -> Any:
        """End a request in a named conversation, whose answer is ``output``.

        Returns:
            What `save` returned, a value or an awaitable; None without.
        """
        if self._talk is not None:
            return None
        keep_output(turn, payload, output)
        return self._call("save") if self.saves else None

    def take_back(self) -> None:
        """The last answer could not be given: the conversation is what it was before it."""
        if self._talk is not None and self._taken_back is not None:
            (before,), self._taken_back = self._taken_back, None
            self._talk.history = before
            self._store(before)

    def _store(self, history: Any) -> None:
        worker = installed()
        if self.options.checkpoint and worker is not None and self._talk is not None:
            worker.checkpoint({_STATE: self._kind, "saved": self._talk.save(history)})

    def _begin_anew(self) -> None:
        """Keep what a conversation is before its first request, for each of them."""
        if self._talk is None:
            raise refusal("AgentOptions.keep_history is of a conversation, and a handler has none")
        if self.options.checkpoint:
            raise refusal("AgentOptions.checkpoint stores what keep_history=False forgets")
        self._blank = self._talk.history

    def _go_on(self) -> None:
        """Take the conversation of an earlier generation up where it was stored."""
        if self._talk is None:
            raise refusal("AgentOptions.checkpoint stores a conversation, and a handler has none")
        worker = installed()
        state = None if worker is None else worker.restored
        if state is None:
            return
        if not isinstance(state, Mapping) or state.get(_STATE) != self._kind:
            raise refusal(
                "AgentOptions.checkpoint found another checkpoint in place of the conversation: "
                "the agent's own code calls checkpoint(), too"
            )
        self._talk.history = self._talk.load(state["saved"])

    @property
    def _kind(self) -> str:
        return type(self._talk).__name__


async def _all_of(*values: Any) -> None:
    for value in values:
        if isawaitable(value):
            await value


def _sum_of(results: Sequence[AgentResult]) -> tuple[Usage, Cost]:
    return (
        sum((each.usage for each in results), Usage()),
        sum((each.cost for each in results), Cost()),
    )


def as_agent(product: object) -> Agent:
    """Make an `Agent` of what a factory returned (docs/explanation/concepts.md, in its order).

    Args:
        product: options, a library's agent, an object with `prompt` or `handle`, or a callable.

    Raises:
        StartError: permanent, in phase "construct": the product is none of these; its text names
            the type that was returned and what may be.
    """
    if isinstance(product, Agent):
        return product
    if isinstance(product, AgentOptions):
        return Agent(product, product.handler or product.stream_fn)
    if library_of(product) is not None:
        return Agent(AgentOptions(model=product))
    methods = (getattr(product, name, None) for name in ("prompt", "handle"))
    method = next(filter(callable, methods), None)
    if isinstance(product, type):
        # A plain callable (`str`, say), but not the class of an agent in place of an instance.
        if method is None and not issubclass(product, Agent | AgentOptions):
            return Agent(AgentOptions(handler=product))
    elif method is not None:
        return Agent(AgentOptions(handler=method), product)
    elif callable(product):
        return Agent(AgentOptions(handler=product), product)
    raise refusal(f"the factory returned {described(product)}{_hint(product)}; {_ACCEPTED}")


def _refuse_what_needs_a_model(options: AgentOptions) -> None:
    for name in _OF_MODELS:
        if getattr(options, name) is not getattr(AgentOptions, name):
            raise refusal(
                f"AgentOptions.{name} is for a model of an LLM library; a handler or stream_fn "
                "does not get it"
            )


def _refuse_unknown(approval: object, tools: Collection[str]) -> None:
    if isinstance(approval, str) or not isinstance(approval, Collection):
        raise refusal(f"AgentOptions.approval is no list of names of tools: {approval!r}")
    for name in approval:
        if name not in tools:
            hint = did_you_mean(str(name), tools, listed="there is")
            raise refusal(f"AgentOptions.approval names {name!r}, which is no tool{hint}")


def _hint(product: object) -> str:
    if product is None:
        return " (is a `return` missing?)"
    if isinstance(product, type):
        return f" (return an instance: {product.__name__}(...))"
    if hasattr(product, "__await__"):
        close = getattr(product, "close", None)
        if callable(close):
            close()  # it will never be awaited, and nobody needs a warning besides this error
        return " (a factory is a plain function; async work belongs into ready())"
    return ""
