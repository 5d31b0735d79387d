"""A conversation with a model: turns of the user's `stream_fn`, tool calls in between.

`converse` makes one model turn, runs the tools that it asks for, and goes on until a turn asks for
none. It works on a list of its own, so a request that fails leaves the conversation untouched.
Between its steps it tells the watchdog that work goes on, and looks whether it has been cancelled.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, cast

from procorch.agents.account import enter
from procorch.agents.current import installed
from procorch.agents.limited import model_call
from procorch.agents.permits import Spent
from procorch.agents.stream_events import (
    LONGEST,
    StreamEvent,
    ToolCallEvent,
    ToolResultEvent,
    UsageEvent,
)
from procorch.agents.tool_calls import failed, run_tool
from procorch.errors import InvalidContinue, RequestCancelled, StreamError
from procorch.messages import (
    AgentMessage,
    AgentResult,
    AssistantMessage,
    ContentBlock,
    Cost,
    CustomMessage,
    LlmMessage,
    StopReason,
    TextBlock,
    Usage,
)

# A turn that ended so has no answer to come, or was cut off in the middle of a call.
_CUT_OFF = (StopReason.LENGTH, StopReason.ABORTED, StopReason.ERROR)


@dataclass(frozen=True, slots=True)
class TurnContext:
    """What a `stream_fn` is given: all it needs to ask a model for one turn."""

    system_prompt: str
    messages: Sequence[LlmMessage]
    tools: Sequence[Callable[..., Any]] = ()
    model: Any = None


class Turns:
    """The conversation of an agent whose model is a `stream_fn`.

    Args:
        stream_fn: makes one turn, see `_turn`.
        context: what `stream_fn` gets, its messages replaced in every turn.
        tools: what may be called, by name.
        max_turns: how many turns one request may take.
        tell: whether the model is told of the errors of tools; else they are raised.
    """

    def __init__(
        self,
        stream_fn: Callable[[TurnContext], Any],
        context: TurnContext,
        tools: Mapping[str, Callable[..., Any]],
        max_turns: int,
        *,
        tell: bool = True,
    ) -> None:
        self.history: list[AgentMessage] = []
        self._how = (stream_fn, context, tools)
        self._max_turns = max_turns
        self._tell = tell

    @property
    def messages(self) -> list[AgentMessage]:
        """The conversation."""
        return self.history

    async def respond(
        self, messages: list[AgentMessage], history: list[AgentMessage]
    ) -> tuple[AgentResult, list[AgentMessage]]:
        """Say them, and take turns until there is an answer; see `converse`."""
        history = [*history, *messages]
        result = await converse(*self._how, history, self._max_turns, tell=self._tell)
        return result, [*history, *result.messages]

    async def resume(
        self, decisions: Mapping[str, bool | str], history: list[AgentMessage]
    ) -> tuple[AgentResult, Any]:
        """No call waits for a decision here: `InvalidContinue`."""
        raise InvalidContinue("the tools of an agent with a stream_fn wait for no approval")

    def from_messages(self, messages: Sequence[AgentMessage]) -> list[AgentMessage]:
        """The messages."""
        return list(messages)

    def ready(self) -> None:
        """There is nothing to connect."""

    def close(self) -> None:
        """There is nothing to end."""

    def save(self, history: list[AgentMessage]) -> list[AgentMessage]:
        """The conversation, which is plain data."""
        return history

    def load(self, state: Any) -> list[AgentMessage]:
        """What `save` gave."""
        return list(state)


async def converse(
    stream_fn: Callable[[TurnContext], Any],
    context: TurnContext,
    tools: Mapping[str, Callable[..., Any]],
    history: Sequence[AgentMessage],
    max_turns: int,
    *,
    tell: bool = True,
) -> AgentResult:
    """Run turns until one asks for no tool.

    Args:
        stream_fn: makes one turn, see `_turn`.
        context: what `stream_fn` gets, its messages replaced in every turn.
        tools: what may be called, by name.
        history: the conversation up to the new request, that included.
        max_turns: how many turns there may be.
        tell: whether the model is told of the errors of tools; else they are raised.

    Returns:
        The new messages, the answer of the last turn as output, usage and cost of all turns.

    Raises:
        StreamError: no answer after `max_turns`, or the turn yielded what is no content.
        RequestCancelled: the request was cancelled between two steps.
    """
    new: list[AgentMessage] = []
    try:
        return await _converse(stream_fn, context, tools, history, max_turns, new, tell)
    except BaseException:
        said = [message for message in new if isinstance(message, AssistantMessage)]
        spent = sum((each.usage for each in said), Usage()), sum((m.cost for m in said), Cost())
        enter(AgentResult(usage=spent[0], cost=spent[1]))  # paid for, though the request fails
        raise


async def _converse(
    stream_fn: Callable[[TurnContext], Any],
    context: TurnContext,
    tools: Mapping[str, Callable[..., Any]],
    history: Sequence[AgentMessage],
    max_turns: int,
    new: list[AgentMessage],
    tell: bool,
) -> AgentResult:
    """The turns of `converse`; what is said is put into ``new``."""
    usage, cost = Usage(), Cost()
    for _ in range(max_turns):
        step()
        seen = tuple(m for m in (*history, *new) if not isinstance(m, CustomMessage))
        message = await _turn(stream_fn, replace(context, messages=seen))
        new.append(message)
        usage, cost = usage + message.usage, cost + message.cost
        await _tell(UsageEvent(message.usage, message.cost))
        for call in message.tool_calls:
            step()
            await _tell(ToolCallEvent(call.id, call.name, call.arguments))
            if message.stop_reason in _CUT_OFF:
                text = f"not run: the turn ended early ({message.stop_reason.value})"
                new.append(failed(call, text))
            else:
                answer = await run_tool(call, tools, tell=tell)
                new.append(answer)
                await _tell(ToolResultEvent(call.id, answer.text[:LONGEST], answer.is_error))
        if not message.tool_calls or message.stop_reason in _CUT_OFF:
            return AgentResult(
                tuple(new), message.stop_reason, usage, cost, message.error, output=message.text
            )
    raise StreamError(f"the model asked for tools {max_turns} turns long and gave no answer")


async def _tell(event: StreamEvent) -> None:
    """Tell who reads the answer along."""
    worker = installed()
    if worker is not None and worker.streaming:
        await worker.emit_async(event)


def step() -> None:
    """Between two steps of a run: tell the watchdog, and look whether it is to go on.

    Raises:
        RequestCancelled: it is not.
    """
    worker = installed()
    if worker is not None:
        worker.progress()
        if worker.cancelled:
            raise RequestCancelled(agent=worker.agent, request=worker.request)


async def _turn(stream_fn: Callable[[TurnContext], Any], context: TurnContext) -> AssistantMessage:
    """One turn, with a permit; if a limit counts it, it is tried again unless it was heard."""
    worker, heard = installed(), False

    async def emit(text: str) -> None:
        nonlocal heard
        if worker is not None:
            heard = heard or worker.streaming
            await worker.emit_async(text)

    return await model_call(
        lambda: _one_turn(stream_fn, context, emit),
        worker,
        None if worker is None else worker.limits.own,
        lambda message: Spent(message.usage, message.cost, message.model),
        lambda: not heard,
    )


async def _one_turn(
    stream_fn: Callable[[TurnContext], Any],
    context: TurnContext,
    emit: Callable[[str], Awaitable[None]],
) -> AssistantMessage:
    """One attempt at a turn: the pieces that `stream_fn` yields or returns, as one message.

    Pieces of text are joined to a block, blocks are taken as they are, `Usage` and `Cost` are added
    up. An `AssistantMessage` gives usage, cost and stop reason; if it has content, that is the
    whole turn and takes the place of what was streamed before.
    """
    blocks: list[ContentBlock] = []
    text: list[str] = []
    usage, cost = Usage(), Cost()
    last = AssistantMessage()
    worker = installed()

    def flush() -> None:
        if text:
            blocks.append(TextBlock("".join(text)))
            text.clear()

    async with aclosing(_pieces(stream_fn(context))) as pieces:
        async for piece in pieces:
            if worker is not None:
                worker.progress()
            if isinstance(piece, str):
                text.append(piece)
                await emit(piece)
            elif isinstance(piece, ContentBlock):
                flush()
                blocks.append(piece)
            elif isinstance(piece, AssistantMessage):
                last = piece
                usage, cost = usage + piece.usage, cost + piece.cost
                if piece.content:
                    text.clear()
                    blocks[:] = piece.content
            elif isinstance(piece, Usage):
                usage += piece
            elif isinstance(piece, Cost):
                cost += piece
            elif isinstance(piece, StopReason):
                last = replace(last, stop_reason=piece)
            elif piece is not None:
                raise StreamError(
                    "stream_fn gives text, content blocks or an AssistantMessage, not "
                    f"{type(piece).__name__}"
                )
    flush()
    return replace(last, content=tuple(blocks), usage=usage, cost=cost)


async def _pieces(product: Any) -> AsyncGenerator[Any, None]:
    """What an (async) function or generator gives, one piece after the other.

    A generator is closed at once where the turn ends early, not when it happens to be collected.
    """
    while hasattr(product, "__await__"):
        product = await cast("Awaitable[Any]", product)
    if hasattr(product, "__aiter__"):
        try:
            async for piece in product:
                yield piece
        finally:
            close = getattr(product, "aclose", None)
            if close is not None:
                await close()
    elif isinstance(product, Iterator | list | tuple):
        for piece in _to_the_end(product):
            yield piece
    else:
        yield product


def _to_the_end(pieces: Any) -> Iterator[Any]:
    """All that is yielded, then what a generator returns."""
    yield (yield from pieces)
